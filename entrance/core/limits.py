"""What one attempt may use: the administrator's limits, and what a submission asks for below them.

A submission asks with labels (of Linkis' API; there they may also stand among the runtime settings): ``jobMemoryLimit``
(bytes), ``jobOpenFilesLimit``, ``jobCpuLimit`` (seconds of processor time). They are kept with the task's other labels, so a
rerun has them too, and children inherit them: each attempt of a child is held to what its parent asked for. Time limits
(``jobRunningTimeout``, ``jobQueuingTimeout``) are columns of the task and are not inherited: a parent's covers its children,
which end with it.
"""

from __future__ import annotations

from collections.abc import Iterable

from executors.launchers.base import Limits

MEMORY, OPEN_FILES, CPU = "jobMemoryLimit", "jobOpenFilesLimit", "jobCpuLimit"
LABELS = (MEMORY, OPEN_FILES, CPU)


def asked(labels: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the labels that ask for limits."""
    return tuple((key, value) for key, value in labels if key in LABELS)


def of_attempt(labels: Iterable[tuple[str, str]], most: Limits) -> Limits:
    """Return the limits of an attempt: what its labels ask for, and never more than ``most``."""
    wanted = {key: int(value) for key, value in asked(labels) if value.isdigit()}
    return Limits(
        memory_bytes=_lower(wanted.get(MEMORY), most.memory_bytes),
        open_files=_lower(wanted.get(OPEN_FILES), most.open_files),
        cpu_seconds=_lower(wanted.get(CPU), most.cpu_seconds),
    )


def _lower(asked: int | None, most: int | None) -> int | None:
    return min((x for x in (asked, most) if x), default=None)
