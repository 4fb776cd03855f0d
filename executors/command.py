"""``command``: runs a program that the administrator declared, and nothing else.

``[commands.NAME] argv = [...]`` in the settings declares it; ``args`` are put behind. No shell is involved. What it writes
goes to the log as it comes, standard error as WARN; its exit status decides.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from marshmallow import fields, validate

from common.errors import ExecutorError
from executors.base import Column, TaskContext
from executors.params import Params

TICK_SECONDS = 0.5
_READ_BYTES = 64 << 10
_LINE_BYTES = 64 << 10


class CommandParams(Params):
    """Which command, with what behind it."""

    name = fields.String(
        required=True,
        validate=validate.Length(min=1),
        metadata={"title": "Name", "description": "A command that the administrator declared."},
    )
    args = fields.List(
        fields.String(),
        load_default=list,
        validate=validate.Length(max=1000),
        metadata={"title": "Arguments", "description": "Put behind the declared ones.", "examples": [["--fast"]]},
    )


class Command:
    """Runs a declared program; its exit status is the state."""

    name = "command"
    summary = "Run a program that the administrator declared"
    params = CommandParams
    columns = (Column(name="message"),)
    cores = 0.25

    def run(self, ctx: TaskContext) -> Sequence[Sequence[Any]] | None:
        argv = _declared(ctx.commands, ctx.params["name"]) + ctx.params["args"]
        ctx.step(0, 1)
        try:
            program = subprocess.Popen(
                argv, cwd=ctx.workdir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "an argument holds a zero byte"
            raise ExecutorError(f"the command {ctx.params['name']} cannot be started: {why}") from error
        with program:
            try:
                status = _follow(program, ctx)
            except BaseException:
                program.kill()
                raise
        if status:
            what = f"exited with status {status}" if status > 0 else f"was killed by signal {-status} ({_meaning(-status)})"
            raise ExecutorError(f"the command {ctx.params['name']} {what}")
        ctx.step(1, 1)
        return None


def _meaning(number: int) -> str:
    """What a signal means, such as ``CPU time limit exceeded``."""
    try:
        return signal.strsignal(number) or "unknown"
    except ValueError:
        return "unknown"


def _declared(commands: Mapping[str, Sequence[str]], name: str) -> list[str]:
    argv = commands.get(name)
    if argv is None:
        known = f"there are: {', '.join(sorted(commands))}" if commands else "none are"
        raise ExecutorError(f"no command {name} is declared; {known}")
    return list(argv)


def _follow(program: subprocess.Popen[bytes], ctx: TaskContext) -> int:
    """Log what the program writes until it ends; return its exit status.

    What it leaves running in the background may hold the pipes open: they are not waited for.
    """
    assert program.stdout is not None
    assert program.stderr is not None
    with selectors.DefaultSelector() as selector:
        for stream, level in ((program.stdout, "INFO"), (program.stderr, "WARN")):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ, _Lines(ctx, level))
        told = 0.0
        while selector.get_map():
            ended = program.poll() is not None
            ready = selector.select(0 if ended else TICK_SECONDS)
            for key, _ in ready:
                if not key.data.read(key.fileobj):
                    selector.unregister(key.fileobj)
            if time.monotonic() - told > TICK_SECONDS / 2:
                told = time.monotonic()
                ctx.step(0, 1)
            if ended and not ready:
                break
        for key in list(selector.get_map().values()):
            key.data.end()
    while program.poll() is None:
        ctx.step(0, 1)
        time.sleep(TICK_SECONDS / 10)
    return program.returncode


class _Lines:
    """Logs the lines of one pipe."""

    def __init__(self, ctx: TaskContext, level: str) -> None:
        self._ctx = ctx
        self._level = level
        self._held = b""

    def read(self, stream: IO[bytes]) -> bool:
        """Take what is there; tell whether more may come."""
        try:
            data = os.read(stream.fileno(), _READ_BYTES)
        except BlockingIOError:
            return True
        *lines, self._held = (self._held + data).split(b"\n")
        if len(self._held) > _LINE_BYTES:
            lines, self._held = [*lines, self._held], b""
        for line in lines:
            self._log(line)
        if not data:
            self.end()
        return bool(data)

    def end(self) -> None:
        """Log a last line that does not end."""
        if self._held:
            self._log(self._held)
        self._held = b""

    def _log(self, line: bytes) -> None:
        self._ctx.log(line.removesuffix(b"\r").decode("utf-8", "replace"), self._level)
