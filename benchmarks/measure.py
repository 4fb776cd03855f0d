"""Taking samples of several programs in turn, and what comes of it: rows of ratios with their spread.

A figure of one run means little on a shared machine, so every measure is taken in rounds. In each round every program runs
once on the same input, in the opposite order every other round, and the ratio is made of that round's pair. What is told is
the median of these ratios, with the lowest and the highest.
"""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

MIB = 1 << 20
GIB = 1 << 30
_LOOK_SECONDS = 0.02


class Differs(Exception):
    """Two programs that should have done the same work came to different results."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One run of a program."""

    seconds: float
    cpu_seconds: float | None = None
    """User and system, of all its processes."""
    peak_bytes: int | None = None
    """Resident memory of its largest process."""
    result: str = ""
    """What it came to (a CID), to be held against the others'; empty when there is nothing to compare."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """Something that can be run again and again on ``amount`` bytes or files."""

    name: str
    amount: int
    run: Callable[[], Sample]


@dataclass(frozen=True, kw_only=True)
class Side:
    """The medians of one program over all rounds, and its samples."""

    name: str
    amount: int
    rate: float
    """Amount per second."""
    cpu_seconds: float | None
    """For the whole amount."""
    peak_bytes: int | None
    samples: Sequence[Sample]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: our program, and one other if there is one."""

    group: str
    unit: str
    """``bytes`` or ``files`` (of ``amount``)."""
    ours: Side
    other: Side | None = None
    same: str = ""
    """What both came to, in a word (``piece CID``, ``root CID``), after it was found equal."""

    @property
    def ratio(self) -> tuple[float, float, float] | None:
        """How many times our rate is the other's: median, lowest, highest of the rounds."""
        if self.other is None:
            return None
        per = self.other.amount / self.ours.amount
        pairs = zip(self.ours.samples, self.other.samples, strict=True)
        ratios = [other.seconds / mine.seconds / per for mine, other in pairs]
        return median(ratios), min(ratios), max(ratios)

    @property
    def line(self) -> str:
        """The row in short."""
        per, unit = (MIB, "MiB") if self.unit == "bytes" else (1, "files")
        text = f"{self.ours.name}: {self.ours.rate / per:,.0f} {unit}/s"
        return f"{text}, {self.ratio[0]:.2f} times {self.other.name}" if self.other and self.ratio else text


@contextmanager
def usage() -> Iterator[Callable[[], Sample]]:
    """Measure what this process does until the function that is given is called."""

    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    begin, spent = time.perf_counter(), cpu()
    yield lambda: Sample(seconds=time.perf_counter() - begin, cpu_seconds=cpu() - spent)


def timed(work: Callable[[], str]) -> Sample:
    """Run a function of this process; its answer is the result."""
    with usage() as taken:
        result = work()
        sample = taken()
    return Sample(seconds=sample.seconds, cpu_seconds=sample.cpu_seconds, result=result)


def run_program(*command: str | Path, environment: Mapping[str, str] | None = None) -> tuple[Sample, str]:
    """Run a program to its end, start-up included; return its sample and what it printed.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    arguments = [str(part) for part in command]
    with tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        with subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, **(environment or {})}, text=True
        ) as child:
            assert child.stdout is not None
            with _watched(child.pid) as peak:
                printed = child.stdout.read()
                _, status, used = os.wait4(child.pid, 0)
            seconds = time.perf_counter() - begin
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            errors.seek(0)
            raise RuntimeError(f"{arguments} ended with {child.returncode}: {errors.read().decode()[-1000:]}")
    return Sample(seconds=seconds, cpu_seconds=used.ru_utime + used.ru_stime, peak_bytes=peak() or None), printed


def peak_of(pid: int) -> int:
    """Return the peak resident memory of a process in bytes, since it became this program.

    Not ``ru_maxrss``, in which the memory of the process that forked it stays.

    Raises:
        OSError: there is no such process.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)


@contextmanager
def _watched(pid: int) -> Iterator[Callable[[], int]]:
    """Look at the peak of a process until the block ends: an ended process does not tell it any more."""
    peak, over = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        with suppress(OSError):
            while not over.wait(_LOOK_SECONDS):
                peak = max(peak, peak_of(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: peak
    finally:
        over.set()
        thread.join()


def one_after_the_other(first: Sample, *more: Sample) -> Sample:
    """Return the sample of programs that ran in sequence; its result is the last one's."""
    runs = (first, *more)
    cpu, peaks = [r.cpu_seconds for r in runs], [r.peak_bytes for r in runs]
    return Sample(
        seconds=sum(r.seconds for r in runs),
        cpu_seconds=None if None in cpu else sum(c for c in cpu if c is not None),
        peak_bytes=None if None in peaks else max(p for p in peaks if p is not None),
        result=runs[-1].result,
    )


@dataclass
class Bench:
    """What all groups share: how many rounds, and where rows and words go."""

    rounds: int
    note: Callable[[str], None]
    rows: list[Row] = field(default_factory=list)
    memory: dict[str, Mapping[str, int]] = field(default_factory=dict)
    """Peak resident memory of the service's own processes in bytes, by their kind, for each group."""

    def compare(
        self,
        group: str,
        unit: str,
        ours: Sequence[Program],
        others: Sequence[Program] = (),
        *,
        alone: Sequence[Program] = (),
        same: str = "",
        rounds: int | None = None,
    ) -> None:
        """Run all programs in turn; add a row for each of ours with each other, and one for each that stands alone.

        With ``same`` (what the results are) all results that are not empty must be equal. Whole rounds that were taken
        before an interruption become rows too.

        Raises:
            Differs: they are not.
        """
        programs = [*ours, *others, *alone]
        samples: dict[str, list[Sample]] = {program.name: [] for program in programs}
        try:
            for number in range(rounds or self.rounds):
                taken = {p.name: p.run() for p in (programs if number % 2 == 0 else programs[::-1])}
                for name, sample in taken.items():
                    samples[name].append(sample)
        finally:
            if all(samples.values()):
                self._tell(group, unit, ours, others, alone, same, samples)

    def _tell(
        self,
        group: str,
        unit: str,
        ours: Sequence[Program],
        others: Sequence[Program],
        alone: Sequence[Program],
        same: str,
        samples: Mapping[str, Sequence[Sample]],
    ) -> None:
        results = {name: {s.result for s in taken if s.result} for name, taken in samples.items()}
        if same and len(set().union(*results.values())) > 1:
            raise Differs(f"{group}: {same} differs: {results}")
        sides = {program.name: _side(program, samples[program.name]) for program in (*ours, *others, *alone)}
        pairs = [(mine, other) for mine in ours for other in others]
        for mine, other in pairs:
            equal = same if results[mine.name] and results[other.name] else ""
            self._add(Row(group=group, unit=unit, ours=sides[mine.name], other=sides[other.name], same=equal))
        for mine in alone if pairs else (*ours, *alone):
            self._add(Row(group=group, unit=unit, ours=sides[mine.name]))

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        self.note(f"{row.group}: {row.line}")


class Shared:
    """One run that gives samples of several programs: the first of them that is asked for starts the next run."""

    def __init__(self, run: Callable[[], Mapping[str, Sample]]) -> None:
        self._run = run
        self._left: dict[str, Sample] = {}

    def taker(self, kind: str) -> Callable[[], Sample]:
        """Return what gives the sample of this kind, once a run."""

        def take() -> Sample:
            if kind not in self._left:
                self._left = dict(self._run())
            return self._left.pop(kind)

        return take


def _side(program: Program, samples: Sequence[Sample]) -> Side:
    cpu = [s.cpu_seconds for s in samples if s.cpu_seconds is not None]
    peaks = [s.peak_bytes for s in samples if s.peak_bytes is not None]
    return Side(
        name=program.name,
        amount=program.amount,
        rate=median(program.amount / s.seconds for s in samples),
        cpu_seconds=median(cpu) if cpu else None,
        peak_bytes=max(peaks) if peaks else None,
        samples=samples,
    )


def as_json(value: Any) -> Any:
    """Return the JSON form of rows and what is in them."""
    if isinstance(value, Row):
        return {name: as_json(item) for name, item in (vars(value) | {"ratio": value.ratio}).items()}
    if isinstance(value, (Side, Sample)):
        return {name: as_json(item) for name, item in vars(value).items()}
    return [as_json(item) for item in value] if isinstance(value, (list, tuple)) else value
