"""From the body of submit or execute to a Submission: both forms, labels, defaults, refusals. No request, no service here.

The order of the checks is that of Linkis' own, so that a client with several faults hears of the same one first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from common.content.sizes import parse_size
from common.errors import BadInput, ContentError
from common.task import Priority
from entrance.core import limits
from entrance.core.model import Caller, Submission
from entrance.core.variables import substituted
from entrance.dialects.linkis.errors import LinkisError
from entrance.web.parsing import parse

PRIORITY_KEY = "wds.linkis.engine.runtime.priority"
DEFAULT_CREATOR = "IDE"
MAX_LABEL_CHARACTERS = 1024
MAX_CREATOR_CHARACTERS = 64
MAX_RETRIES = 10
_MAX_NUMBER = 10**12
_TIMES = ("jobRunningTimeout", "jobQueuingTimeout", "jobRetryCount", "jobRetryTimeout")

_USER_CREATOR = (
    "The value of the label is set incorrectly, only one value can be set, and the separator symbol '-' cannot be used"
)
_TIME_LABEL = "The task time tag is not set incorrectly, execution is not allowed."


def read(
    body: Mapping[str, Any], caller: Caller, *, address: str, idempotency_key: str = "", today: date | None = None
) -> Submission:
    """Return what the body asks for. Raises LinkisError with the number and text of Linkis.

    ``address`` is the client's, kept in the source; ``today`` is for ``${run_date}``.
    """
    work = _new_form(body) if body.get("executionContent") is not None else _old_form(body)
    labels = dict(work.labels)
    executor = _executor(work)
    run_type = labels.get("codeType") or work.run_type
    if not run_type:
        text = f"Label params invalid You need to specify runType in execution content, such as {executor}"
        raise LinkisError(text, errno=20009)
    creator = _creator(work, caller)
    settings = _object(body, "params")
    params = _params(work.code, _object(settings, "variable"), today or date.today())
    source = _object(body, "source")
    if address:
        source = {**source, "requestIP": address}
    labels |= _limits(labels, settings)
    for key, value in (("engineType", executor), ("userCreator", f"{caller.name}-{creator}")):
        labels.setdefault(key, value)
    return Submission(
        executor=executor,
        params=params,
        creator=creator,
        door="linkis",
        execute_user=caller.name,
        run_type=run_type,
        priority=_priority(settings),
        code=work.code_text,
        settings=settings,
        source=source,
        labels=tuple(labels.items()),
        running_timeout_s=_limit(labels, "jobRunningTimeout") or None,
        queuing_timeout_s=_limit(labels, "jobQueuingTimeout") or None,
        max_retries=_retries(labels),
        retry_delay_ms=_limit(labels, "jobRetryTimeout"),
        idempotency_key=idempotency_key,
    )


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What the two forms have in common."""

    code: Any  # a text or an object
    code_text: str  # as kept for the history
    run_type: str
    labels: Mapping[str, str]
    engine_type: str = ""  # of the old form
    creator: str = ""  # of the old form


def _new_form(body: Mapping[str, Any]) -> _Work:
    labels = _labels(body.get("labels"))
    if not labels:
        raise LinkisError("params cannot be empty ,  labels is null", errno=20008)
    content = body["executionContent"]
    if not isinstance(content, Mapping) or content.get("code") is None:
        raise LinkisError("executionContent must have a code", errno=20010)
    code = content["code"]
    if _blank(code):
        raise LinkisError("The param executionCode cannot be empty", errno=20007)
    return _Work(code=code, code_text=_code_text(code), run_type=_name(content, "runType"), labels=labels)


def _old_form(body: Mapping[str, Any]) -> _Work:
    code = body.get("executionCode")
    if _blank(code):
        script = _object(body, "source").get("scriptPath")
        if _blank(script):
            text = "The param executionCode and scriptPath cannot be empty at the same time"
            raise LinkisError(text, errno=20007)
        raise LinkisError("The param executionCode cannot be empty", errno=20007)
    labels = _labels(body.get("labels"))
    engine_type = _name(body, "executeApplicationName")
    return _Work(
        code=code,
        code_text=_code_text(code),
        run_type=_name(body, "runType") or _engine(labels.get("engineType", "") or engine_type),
        labels=labels,
        engine_type=engine_type,
        creator=_name(body, "requestApplicationName"),
    )


# ---- parts --------------------------------------------------------------------------------------------------------


def _blank(code: Any) -> bool:
    return code is None or (isinstance(code, str) and not code.strip())


def _code_text(code: Any) -> str:
    if isinstance(code, str):
        return code
    return json.dumps(code, ensure_ascii=False)


def _object(holder: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = holder.get(key)
    return dict(value) if isinstance(value, Mapping) else {}


def _name(holder: Mapping[str, Any], key: str) -> str:
    value = holder.get(key)
    return value.strip() if isinstance(value, str) else ""


def _labels(given: Any) -> dict[str, str]:
    """Return the labels as texts, in the order given; null counts as missing."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise LinkisError("labels must be an object", errno=20009)
    return {key: _label(key, value) for key, value in given.items() if value is not None}


def _label(key: str, value: Any) -> str:
    if isinstance(value, list) and all(isinstance(v, (str, int, float)) for v in value):
        text = ",".join(_label(key, v) for v in value)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, (str, int, float)):
        text = str(value).strip()
    else:
        raise LinkisError(f"Label params invalid, {key} must be a text, a number, a bool or a list of texts", errno=20009)
    if len(text) > MAX_LABEL_CHARACTERS or len(key) > MAX_LABEL_CHARACTERS:
        raise LinkisError(f"Label params invalid, a label is longer than {MAX_LABEL_CHARACTERS} characters", errno=20009)
    return text


def _engine(label: str) -> str:
    """Return the executor that an engine type names: what stands before the first ``-``, in lower case."""
    return label.partition("-")[0].strip().lower()


def _executor(work: _Work) -> str:
    executor = _engine(work.labels.get("engineType", "") or work.engine_type)
    if not executor:
        text = "Label params invalid You need to specify engineTypeLabel in labels,such as scan-1"
        raise LinkisError(text, errno=20009)
    return executor


def _creator(work: _Work, caller: Caller) -> str:
    label = work.labels.get("userCreator")
    if label is None:
        user, creator = caller.name, work.creator or DEFAULT_CREATOR
    elif label.lower().startswith(f"{caller.name}-"):
        user, creator = caller.name, label[len(caller.name) + 1 :].strip()
    else:
        user, dash, creator = (part.strip() for part in label.partition("-"))
        if not dash or not user:
            raise LinkisError(_USER_CREATOR, errno=25002)
    if not creator:
        raise LinkisError(_USER_CREATOR, errno=25002)
    if user.lower() != caller.name:
        text = (
            f"SubmitUser : {caller.name} must be the same as ExecuteUser : {caller.name} , "
            f"and user : {user} in userCreatorLabel."
        )
        raise LinkisError(text, errno=50080)
    if len(creator) > MAX_CREATOR_CHARACTERS or not creator.isprintable() or any(c in '/\\%?#"<>' for c in creator):
        text = (
            f'Label params invalid, a creator has at most {MAX_CREATOR_CHARACTERS} characters, none of them / \\ % ? # " < >'
        )
        raise LinkisError(text, errno=20009)
    return creator


def _params(code: Any, variables: Mapping[str, Any], today: date) -> Mapping[str, Any]:
    """Return the JSON object that the code is, variables filled in."""
    if isinstance(code, str):
        try:
            code = parse(code)
        except BadInput as error:
            raise LinkisError(f"code: {error}", errno=20009) from error
    if not isinstance(code, dict):
        raise LinkisError("code: must be a JSON object with the executor's parameters", errno=20009)
    filled: Mapping[str, Any] = substituted(code, variables, today=today)
    return filled


def _priority(settings: Mapping[str, Any]) -> int:
    value = _object(_object(settings, "configuration"), "runtime").get(PRIORITY_KEY)
    if value is None or value == "":
        return int(Priority.NORMAL)
    number = _integer(value)
    if number is None or not Priority.BACKGROUND <= number <= Priority.CRITICAL:
        text = f"{PRIORITY_KEY} must be an integer from {int(Priority.BACKGROUND)} to {int(Priority.CRITICAL)}"
        raise LinkisError(text, errno=20009)
    return number


def _integer(value: Any) -> int | None:
    """Return a non-negative integer given as number or digits."""
    if isinstance(value, bool):
        return None
    text = str(value).strip() if isinstance(value, (int, str)) else ""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        return None
    return int(text)


def _limit(labels: Mapping[str, str], key: str) -> int | None:
    """Return a label of digits; None when it is not there."""
    value = labels.get(key)
    if value is None or value == "":
        return None
    number = _integer(value)
    if number is None or number > _MAX_NUMBER:
        raise LinkisError(_TIME_LABEL, errno=20009)
    return number


def _limits(labels: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the limits that are asked for, as labels in plain numbers. OURS: a client that can give no labels (Linkis'
    Python SDK) gives them, and the labels of time and retries, among the runtime settings."""
    runtime = _object(_object(settings, "configuration"), "runtime")
    found = {key: str(runtime[key]).strip() for key in (*_TIMES, *limits.LABELS) if runtime.get(key) not in (None, "")}
    found |= {key: labels[key] for key in found.keys() | set(limits.LABELS) if labels.get(key)}
    for key in limits.LABELS:
        if key in found:
            found[key] = str(_amount(key, found[key]))
    return found


def _amount(key: str, text: str) -> int:
    try:
        number = parse_size(text) if key == limits.MEMORY else _integer(text)
    except ContentError:
        number = None
    if not number or number > _MAX_NUMBER * 1000:
        what = "a size such as 512MiB" if key == limits.MEMORY else "a whole number above 0"
        raise LinkisError(f"Label params invalid, {key} must be {what}", errno=20009)
    return number


def _retries(labels: Mapping[str, str]) -> int | None:
    count = _limit(labels, "jobRetryCount")
    return None if count is None else min(count, MAX_RETRIES)
