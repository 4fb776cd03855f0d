"""Executors for trying out: ``echo`` and ``sleep`` do nothing, in every way that a task can end.

Lines and steps are spread evenly over the seconds. Each goes into the log once: after a pause or a crash the next attempt
goes on behind the last one that its checkpoint knows.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from marshmallow import fields, validate

from common.errors import ExecutorError
from executors.base import Column, TaskContext
from executors.params import Params, Size

TICK_SECONDS = 0.1
_LINES_PER_STEP = 500
_STUBBORN_SECONDS = 86_400


class EchoParams(Params):
    """What an attempt of ``echo`` does; every key may be left out."""

    seconds = fields.Float(
        load_default=0.0,
        validate=validate.Range(min=0, max=1e7),
        metadata={"title": "Seconds", "description": "How long it takes."},
    )
    lines = fields.Integer(
        load_default=0,
        validate=validate.Range(min=0),
        metadata={"title": "Lines", "description": "Log lines, spread evenly over the seconds.", "examples": [100]},
    )
    steps = fields.Integer(
        load_default=0,
        validate=validate.Range(min=0),
        metadata={"title": "Steps", "description": "Steps of progress, each a log line and a checkpoint."},
    )
    memory = Size(
        load_default=0,
        validate=validate.Range(min=0),
        metadata={"title": "Memory", "description": "Bytes to take and touch.", "examples": ["100MiB"]},
    )
    fail = fields.String(
        load_default=None,
        allow_none=True,
        metadata={"title": "Fail", "description": "At the end, fail with this text."},
    )
    crash = fields.Integer(
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1, max=64),
        metadata={"title": "Crash", "description": "At the end, die by this signal.", "examples": [9, 11]},
    )
    stubborn = fields.Boolean(
        load_default=False,
        metadata={"title": "Stubborn", "description": "Ignore SIGTERM and start a child in a session of its own."},
    )
    lock = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(min=1, max=4096),
        metadata={"title": "Lock", "description": "Fail when another attempt on this machine holds this name."},
    )


class SleepParams(EchoParams):
    """As ``echo``, but it takes ten seconds unless told."""

    seconds = fields.Float(
        load_default=10.0,
        validate=validate.Range(min=0, max=1e7),
        metadata={"title": "Seconds", "description": "How long it takes."},
    )


class Echo:
    """Says lines, does steps, takes memory, fails or crashes, as told."""

    name = "echo"
    summary = "Say lines, do steps, fail or crash as told: for trying out"
    params: type[EchoParams] = EchoParams
    columns = (Column(name="message"),)
    cores = 0.25

    def run(self, ctx: TaskContext) -> Sequence[Sequence[Any]] | None:
        wanted = ctx.params
        held = None if wanted["lock"] is None else _hold(wanted["lock"])
        try:
            if wanted["stubborn"]:
                _be_stubborn()
            memory = _touched(wanted["memory"])
            _work(ctx, wanted["seconds"], wanted["lines"], wanted["steps"])
            del memory
            if wanted["crash"]:
                os.kill(os.getpid(), wanted["crash"])
            if wanted["fail"] is not None:
                raise ExecutorError(wanted["fail"])
        finally:
            if held is not None:
                held.close()
        return None


class Sleep(Echo):
    """As ``Echo``, but it takes its time."""

    name = "sleep"
    summary = "Take a while: for trying out"
    params = SleepParams


def _work(ctx: TaskContext, seconds: float, lines: int, steps: int) -> None:
    """Say ``lines`` lines and do ``steps`` steps in ``seconds``; the checkpoint is how far that is."""
    said, stepped, before = json.loads(ctx.checkpoint) if ctx.checkpoint else (0, 0, 0.0)
    began = time.monotonic() - before

    def step() -> None:
        done, total = (stepped, steps) if steps else (said, lines) if lines else (int(passed * 1000), int(seconds * 1000))
        ctx.step(done, total, json.dumps([said, stepped, round(passed, 3)]).encode())

    passed = before
    step()
    while said < lines or stepped < steps or passed < seconds:
        passed = min(seconds, time.monotonic() - began)
        share = passed / seconds if seconds else 1.0
        burst = min(max(said, int(lines * share)), said + _LINES_PER_STEP)
        for number in range(said + 1, burst + 1):
            ctx.log(f"line {number} of {lines}")
        said = burst
        if stepped < int(steps * share):
            stepped += 1
            ctx.log(f"step {stepped} of {steps}")
        step()
        if said >= int(lines * share) and stepped >= int(steps * share) and passed < seconds:
            time.sleep(_pause(seconds, passed, (lines, said), (steps, stepped)))


def _pause(seconds: float, passed: float, *counts: tuple[int, int]) -> float:
    """Return how long until the next line or step is due, at most a tick."""
    due = [seconds * (done + 1) / total for total, done in counts if done < total]
    return max(0.0, min([passed + TICK_SECONDS, seconds, *due]) - passed)


def _touched(size: int) -> bytearray:
    memory = bytearray(size)
    for page in range(0, size, 4096):
        memory[page] = 1
    return memory


def _be_stubborn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sleep", str(_STUBBORN_SECONDS)], start_new_session=True)


def _hold(name: str) -> socket.socket:
    """Hold ``name`` until what is returned is closed, or for as long as any process of the attempt lives; or fail.

    The lock is an abstract socket address (unix(7)): it makes no file, and the kernel frees it with the process.
    """
    import hashlib  # with it comes a library that no other small task needs

    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        holder.bind(f"\0entrance-trial-{hashlib.sha256(name.encode()).hexdigest()}")
    except OSError as error:
        holder.close()
        raise ExecutorError(f"another attempt holds the lock {name}") from error
    return holder
