"""Acceptance claims: what the program promises, shown on a fresh clone of the repository.

A claim is a function with a group, a name and what is wanted. It gets an ``Environment`` and a seed, and returns the figure
that it measured as text, or raises ``Miss`` with the figure that was not good enough:

    @claim(group="spine", name="submit-rate", wanted="at least 100 tasks/s")
    def submit_rate(env: Environment, seed: int) -> str:
        service = env.service().start()
        ...
        return f"{rate:.0f} tasks/s"

Modules of this package that hold claims are found by themselves. ``bin/prove`` runs them.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from factories import Service

GROUPS = ("spine", "prepare", "doors", "steering", "packing")


class Miss(Exception):
    """The claim does not hold; the text is what was seen instead."""


@dataclass
class Environment:
    """Where a claim works: a fresh clone (shared by the claims of one run) and a folder of its own."""

    root: Path
    scratch: Path
    services: list[Service] = field(default_factory=list)

    def run(
        self, *command: str | Path, check: bool = True, timeout_seconds: float = 600.0, **more: object
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the folder of the claim; with ``check`` another exit status than 0 is a Miss."""
        environ = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        try:
            done = subprocess.run(
                [str(part) for part in command],
                cwd=self.scratch,
                env=environ,
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                check=False,
                **more,  # type: ignore[call-overload]
            )
        except subprocess.TimeoutExpired as error:
            raise Miss(f"{command[0]} took more than {timeout_seconds:.0f} s") from error
        if check and done.returncode != 0:
            raise Miss(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        return done

    def service(self, name: str = "data", **settings: str) -> Service:
        """Return a service of the clone in a data folder of its own, not yet started; it is stopped after the claim.

        It runs as an operator's does: what the tests watch besides is left out, for it costs time.
        """
        program = (str(self.root / "bin" / "entrance"),)
        made = Service(data=self.scratch / name, settings=settings, program=program, watched=False)
        self.services.append(made)
        return made

    def close(self) -> None:
        """Stop what was started."""
        for service in self.services:
            service.cli("stop", check=False)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One promise. ``show`` measures it."""

    group: str
    name: str
    wanted: str
    timeout_seconds: float
    show: Callable[[Environment, int], str]


_claims: dict[str, Claim] = {}


def claim(
    *, group: str, name: str, wanted: str, timeout_seconds: float = 900.0
) -> Callable[[Callable[[Environment, int], str]], Callable[[Environment, int], str]]:
    """Register a claim. After ``timeout_seconds`` it is a miss."""
    if group not in GROUPS:
        raise ValueError(f"no group {group}; there are: {', '.join(GROUPS)}")

    def register(show: Callable[[Environment, int], str]) -> Callable[[Environment, int], str]:
        if name in _claims or name in GROUPS:
            raise ValueError(f"there is a claim or group {name} already")
        _claims[name] = Claim(group=group, name=name, wanted=wanted, timeout_seconds=timeout_seconds, show=show)
        return show

    return register


def all_claims() -> Sequence[Claim]:
    """Return every claim of the package, in the order of the groups, then as they are written."""
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}")
    return sorted(_claims.values(), key=lambda found: GROUPS.index(found.group))
