"""All settings, in one frozen value that is read once at the start and passed down.

The dataclasses below are the one table of keys: type, default, unit, limits and a line for people. From it come the
reader, the checks and ``conf/entrance.toml`` (``python -m common.config`` prints that file; a test holds the two against
each other). What counts, later over earlier: the defaults here, a TOML file (``--conf``), the environment
(``ENTRANCE_SECTION__KEY``), options of the command line. An unknown key is an error; an environment name without ``__``
is no setting.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
import textwrap
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from common.errors import StartRefused

PROJECT_ROOT = Path(__file__).resolve().parent.parent
ENV_PREFIX = "ENTRANCE_"


def _key(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """A field that carries what people and the checks need to know of it."""
    facts = {"doc": doc, "unit": unit, "minimum": minimum, "maximum": maximum, "choices": tuple(choices)}
    return field(default=default, metadata=facts)


@dataclass(frozen=True, kw_only=True)
class Service:
    """Where the service listens and where its data lies."""

    host: str = _key("127.0.0.1", "Address to listen on; anything but a loopback address lets other machines in.")
    port: int = _key(9001, "Port to listen on; 0 takes a free one.", minimum=0, maximum=65535)
    data: str = _key("", 'Data folder. "" is var/ in the project\'s root.')
    instance: str = _key("", 'Name of this service in execution ids and process markers. "" is host:port.')
    threads: int = _key(
        8, "Native threads for password hashing and file work beside the event loop.", unit="threads", minimum=1
    )
    connections: int = _key(2000, "Connections served at the same time; further ones wait.", unit="connections", minimum=1)
    idle_seconds: int = _key(60, "A client that sends nothing for so long is cut off.", unit="seconds", minimum=1)


@dataclass(frozen=True, kw_only=True)
class Auth:
    """Who comes in, and how."""

    session_seconds: int = _key(7200, "Life of a login since its last use.", unit="seconds", minimum=60)
    token_enabled: bool = _key(True, "Whether token headers are accepted beside sessions.")
    trust_loopback: str = _key(
        "",
        "Requests without credentials over loopback to the Singularity, data-space, /piece and /ipfs paths act as this "
        'user. "" is nobody. Refused when the service listens on another address.',
    )
    login_encrypt: bool = _key(False, "Whether clients must send the password encrypted with our RSA key at login.")
    signature_skew_seconds: int = _key(
        900,
        "How far the clock of a client that signs its requests may be off. 0 turns the check off.",
        unit="seconds",
        minimum=0,
    )
    allowed_origins: tuple[str, ...] = _key((), "Web origins that may call us from a browser, as https://host[:port].")
    trusted_proxies: tuple[str, ...] = _key((), "Addresses or networks of proxies whose X-Forwarded-For is believed.")


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """What runs at the same time, and how much may wait."""

    slots: int = _key(0, "Work done at the same time. 0 is the machine's cores.", unit="cores", minimum=0)
    running_per_group: int = _key(10, "Running tasks of one group (creator, user, executor).", unit="tasks", minimum=1)
    running_per_creator: int = _key(10000, "Running tasks of one creator and executor.", unit="tasks", minimum=1)
    running_per_executor: int = _key(0, "Running tasks of one executor. 0 is no limit.", unit="tasks", minimum=0)
    waiting_per_group: int = _key(
        1000, "Submitted tasks of one group that may wait; more are refused.", unit="tasks", minimum=1
    )
    waiting_per_user: int = _key(
        20_000,
        "Submitted tasks of one user that may wait, over all groups (a client may name a new creator for each).",
        unit="tasks",
        minimum=1,
    )
    ageing_seconds: int = _key(
        600,
        "A waiting task rises by one priority level each time so much has passed. 0 is never.",
        unit="seconds",
        minimum=0,
    )


@dataclass(frozen=True, kw_only=True)
class Retry:
    """What follows an error that may pass."""

    max_retries: int = _key(3, "Further attempts after errors that may pass.", unit="attempts", minimum=0, maximum=10)
    ladder_seconds: tuple[int, ...] = _key(
        (5, 30, 120), "Pause before the first, second, ... further attempt; the last one repeats.", unit="seconds", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """Time limits of tasks that ask for none, and signs of life."""

    running_timeout_seconds: int = _key(
        0, "A task that runs longer ends as timed out. 0 is no limit.", unit="seconds", minimum=0
    )
    queuing_timeout_seconds: int = _key(
        0, "A task that waits longer ends as timed out. 0 is no limit.", unit="seconds", minimum=0
    )
    sign_of_life_creators: tuple[str, ...] = _key(
        (),
        "Tasks of these creators are cancelled when nobody asks for their status, progress or log for some time, since "
        'their client has gone (Linkis: "LINKISCLI", "BdpClient").',
    )
    sign_of_life_seconds: int = _key(30, "How long nobody may ask for such a task.", unit="seconds", minimum=1)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request and one task may use."""

    body_bytes: int = _key(10 << 20, "Largest request body.", unit="bytes", minimum=1024)
    log_answer_bytes: int = _key(5 << 20, "Most text in one answer about a log.", unit="bytes", minimum=1024)
    log_line_bytes: int = _key(64 << 10, "A longer log line is cut.", unit="bytes", minimum=256)
    list_page: int = _key(5000, "Most rows of one page of a list.", unit="rows", minimum=1)
    kill_items: int = _key(1000, "Most tasks in one call that kills several.", unit="tasks", minimum=1)
    login_tries: int = _key(10, "Wrong passwords for one name or from one address within a minute.", unit="tries", minimum=1)
    memory_bytes: int = _key(0, "Memory of one task process. 0 is no limit.", unit="bytes", minimum=0)
    open_files: int = _key(0, "Open files of one task process. 0 is the machine's limit.", unit="files", minimum=0)
    cpu_seconds: int = _key(0, "Processor time of one task process. 0 is no limit.", unit="seconds", minimum=0)


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How long ended tasks are kept."""

    tasks_days: int = _key(90, "Ended tasks. 0 is for ever.", unit="days", minimum=0)
    logs_days: int = _key(90, "Logs of ended tasks. 0 is as long as the task.", unit="days", minimum=0)
    results_days: int = _key(90, "Results of ended tasks. 0 is as long as the task.", unit="days", minimum=0)


@dataclass(frozen=True, kw_only=True)
class Content:
    """Packed data over HTTP (/piece, /ipfs)."""

    access: str = _key(
        "private",
        '"private": as tasks, for those who may see the preparation; "public": anyone.',
        choices=("private", "public"),
    )


@dataclass(frozen=True, kw_only=True)
class Storages:
    """Where storages may lie. Local folders are allowed with ``entrance storage allow``."""

    allowed_endpoints: tuple[str, ...] = _key(
        (),
        "Object stores (host or host:port) that may be used although their addresses are loopback, link-local or private.",
    )


@dataclass(frozen=True, kw_only=True)
class DataSpaces:
    """Data spaces, as SenseCore's task list knows them. One that a task names exists from then on."""

    default: str = _key("default", "The data space of transfers that name none.")
    known: tuple[str, ...] = _key((), "Further data spaces that exist although no task has named them yet.")
    page_base: int = _key(
        1,
        "Number of the first page of the list; 0 is for clients that count from 0.",
        unit="page number",
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True, kw_only=True)
class LauncherSettings:
    """Where attempts run."""

    kind: str = _key("local", '"local": processes of this machine, from a fork server.', choices=("local",))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set. ``commands``: what the executor ``command`` may run, name to argument list."""

    service: Service = Service()
    auth: Auth = Auth()
    scheduler: Scheduler = Scheduler()
    retry: Retry = Retry()
    tasks: Tasks = Tasks()
    limits: Limits = Limits()
    retention: Retention = Retention()
    content: Content = Content()
    storage: Storages = Storages()
    dataspaces: DataSpaces = DataSpaces()
    launcher: LauncherSettings = LauncherSettings()
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def data_folder(self) -> Path:
        """The data folder, absolute, symbolic links kept."""
        chosen = Path(self.service.data).expanduser() if self.service.data else PROJECT_ROOT / "var"
        return Path(os.path.abspath(chosen))  # noqa: PTH100 - not resolve(): people look for the name that they gave


@dataclass(frozen=True, kw_only=True)
class Key:
    """One row of the table of settings."""

    section: str
    name: str
    kind: type  # str, int, bool, or tuple
    item: type | None  # of a tuple
    default: Any
    doc: str
    unit: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]

    @property
    def path(self) -> str:
        """``section.name``."""
        return f"{self.section}.{self.name}"


def sections() -> Mapping[str, type]:
    """Return each section's dataclass by name, in the order of the file; ``commands`` is not among them."""
    hints = typing.get_type_hints(Settings)
    return {f.name: hints[f.name] for f in fields(Settings) if f.name != "commands"}


def keys() -> Iterator[Key]:
    """Yield the table of settings in the order of the file."""
    for section, kind in sections().items():
        hints = typing.get_type_hints(kind)
        for f in fields(kind):
            hint = hints[f.name]
            assert f.default is not MISSING
            yield Key(
                section=section,
                name=f.name,
                kind=typing.get_origin(hint) or hint,
                item=typing.get_args(hint)[0] if typing.get_args(hint) else None,
                default=f.default,
                **typing.cast("types.MappingProxyType[str, Any]", f.metadata),
            )


# ---- reading ------------------------------------------------------------------------------------------------------


def load(
    conf: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Return the settings: defaults, then ``conf``, then ``environ`` (default: of this process), then ``overrides``
    (``section.key`` to value; None is left out).

    Raises StartRefused, one sentence with every fault by place.
    """
    reader = _Reader()
    if conf is not None:
        reader.take_file(conf)
    reader.take_environment(os.environ if environ is None else environ)
    for path, value in (overrides or {}).items():
        if value is not None:
            reader.set(path, value, place="command line")
    return reader.settings()


class _Reader:
    """Gathers values and faults, so that all faults are told at once."""

    def __init__(self) -> None:
        self._keys = {key.path: key for key in keys()}
        self._values: dict[str, Any] = {}
        self._commands: dict[str, tuple[str, ...]] = {}
        self._faults: list[str] = []

    def take_file(self, path: Path) -> None:
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise StartRefused(f"cannot read the settings file {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise StartRefused(f"the settings file {path} is not valid TOML: {error}") from error
        for section, table in tables.items():
            if not isinstance(table, dict):
                self._unknown(section, str(path))
            elif section == "commands":
                for name, command in table.items():
                    self._command(name, command, str(path))
            else:
                for name, value in table.items():
                    self.set(f"{section}.{name}", value, place=str(path))

    def take_environment(self, environ: Mapping[str, str]) -> None:
        for variable, text in sorted(environ.items()):
            if not variable.startswith(ENV_PREFIX) or "__" not in variable:
                continue
            section, _, name = variable.removeprefix(ENV_PREFIX).lower().partition("__")
            if section == "commands" and name.endswith("__argv"):
                self._command(name.removesuffix("__argv"), {"argv": _list_of(text)}, variable)
                continue
            path = f"{section}.{name}"
            key = self._keys.get(path)
            self.set(path, text if key is None else _from_text(key, text), place=variable)

    def set(self, path: str, value: object, *, place: str) -> None:
        key = self._keys.get(path)
        if key is None:
            self._unknown(path, place)
            return
        try:
            self._values[path] = _checked(key, value)
        except ValueError as error:
            self._faults.append(f"{place}: {path} {error}")

    def _unknown(self, path: str, place: str) -> None:
        near = difflib.get_close_matches(path, self._keys, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        self._faults.append(f"{place}: there is no setting {path}{hint}")

    def _command(self, name: str, table: object, place: str) -> None:
        argv = table.get("argv") if isinstance(table, dict) and set(table) == {"argv"} else None
        if not isinstance(argv, list) or not argv or not all(isinstance(a, str) and "\0" not in a for a in argv):
            self._faults.append(f'{place}: commands.{name} must hold argv = ["program", ...] and nothing else')
        else:
            self._commands[name] = tuple(argv)

    def settings(self) -> Settings:
        parts: dict[str, Any] = {}
        for section, kind in sections().items():
            prefix = f"{section}."
            parts[section] = kind(**{p.removeprefix(prefix): v for p, v in self._values.items() if p.startswith(prefix)})
        made = Settings(**parts, commands=self._commands)
        if made.auth.trust_loopback and not is_loopback(made.service.host):
            self._faults.append("auth.trust_loopback is allowed only while service.host is a loopback address")
        if self._faults:
            raise StartRefused("the settings are not right: " + "; ".join(self._faults))
        return made


def is_loopback(host: str) -> bool:
    """Whether a service that listens on ``host`` is reached from this machine only."""
    return host in {"localhost", "::1"} or re.fullmatch(r"127\.\d{1,3}\.\d{1,3}\.\d{1,3}", host) is not None


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB)?", re.IGNORECASE)
_SIZE_FACTORS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}


def _checked(key: Key, value: object) -> object:
    """Return ``value`` as the key wants it. Raises ValueError with the rest of a sentence."""
    if key.kind is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError("must be a list")
        return tuple(_scalar(key, key.item or str, item) for item in value)
    return _scalar(key, key.kind, value)


def _scalar(key: Key, kind: type, value: object) -> object:
    if kind is int and key.unit == "bytes" and isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if not match:
            raise ValueError(f"must be a number of bytes or a size such as 64KiB, not {value!r}")
        value = int(float(match[1]) * _SIZE_FACTORS[(match[2] or "").lower()])
    if type(value) is not kind:
        raise ValueError(f"must be {_NAMES[kind]}, not {value!r}")
    if isinstance(value, int) and not isinstance(value, bool):
        if key.minimum is not None and value < key.minimum:
            raise ValueError(f"must be at least {key.minimum:g}, not {value}")
        if key.maximum is not None and value > key.maximum:
            raise ValueError(f"must be at most {key.maximum:g}, not {value}")
    if key.choices and value not in key.choices:
        raise ValueError(f"must be one of {', '.join(key.choices)}, not {value!r}")
    return value


_NAMES = {int: "a whole number", bool: "true or false", str: "a text"}
_TRUTHS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def _from_text(key: Key, text: str) -> object:
    """Turn an environment value into the key's type as far as it goes; ``_checked`` judges the outcome."""
    if key.kind is tuple:
        return [_number(item) if key.item is int else item for item in _list_of(text)]
    if key.kind is bool:
        return _TRUTHS.get(text.strip().lower(), text)
    return _number(text) if key.kind is int else text


def _number(value: Any) -> Any:
    try:
        return int(value)
    except (TypeError, ValueError):
        return value


def _list_of(text: str) -> list[Any]:
    """A list from the environment: a JSON array, or items with commas between."""
    if text.lstrip().startswith("["):
        try:
            made = json.loads(text)
        except json.JSONDecodeError:
            return [text]
        return made if isinstance(made, list) else [text]
    return [part.strip() for part in text.split(",") if part.strip()]


# ---- the file -----------------------------------------------------------------------------------------------------

_HEAD = """\
# Every setting of Entrance with its default. This file is printed by `python -m common.config`; a test holds it
# against the code. The service reads it only when told to (--conf FILE): copy it, keep the lines that you change.
# The environment counts over the file: ENTRANCE_SECTION__KEY, lists with commas or as JSON, for example
# ENTRANCE_SCHEDULER__SLOTS=4. An unknown key is an error. Sizes are bytes, or texts such as "64KiB".
"""

_TAIL = """
# Programs that the executor `command` may run, by name; none by default. They run as the user of the service.
# [commands.NAME]
# argv = ["/usr/bin/program", "argument"]
"""


def render() -> str:
    """Return the text of ``conf/entrance.toml``."""
    lines = [_HEAD]
    section = ""
    for key in keys():
        if key.section != section:
            section = key.section
            title = (sections()[section].__doc__ or "").splitlines()[0]
            lines += [f"\n# {title}\n[{section}]\n"]
        doc = f"{key.doc} [{key.unit}]" if key.unit else key.doc
        lines += [f"{line}\n" for line in textwrap.wrap(doc, 116, initial_indent="# ", subsequent_indent="# ")]
        lines += [f"{key.name} = {_toml(key.default)}\n"]
    return "".join(lines) + _TAIL


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value)  # of texts, numbers and truth values TOML's form and JSON's are one


if __name__ == "__main__":
    sys.stdout.write(render())
