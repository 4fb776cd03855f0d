"""The service's own log, for the operator: one JSON object a line on standard error.

An event is a constant phrase; what differs is in fields, so that lines can be counted and searched. Bind what several lines
share once (``log.bind(task_id=7)``). Tasks have logs of their own, for the client; this is not where they go.

    {"time": "2026-01-31T08:15:00.123Z", "level": "info", "logger": "entrance.core", "event": "attempt ended", "task_id": 7}

The writer's native thread must not log (it may touch no lock that others share); it hands errors to those who may.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

_FIELDS = "entrance_fields"  # attribute of a log record that holds the fields


class JsonFormatter(logging.Formatter):
    """Turns a record into one line of JSON; what JSON does not know is shown as its ``str``."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {
            "time": moment,
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class Log:
    """A logger with fields. ``event`` is a constant phrase, never built from values."""

    def __init__(self, logger: logging.Logger, fields: Mapping[str, Any]) -> None:
        self._logger, self._fields = logger, dict(fields)

    def bind(self, **fields: Any) -> Log:
        """Return a log whose every line carries ``fields`` too."""
        return Log(self._logger, {**self._fields, **fields})

    def debug(self, event: str, **fields: Any) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write(logging.ERROR, event, fields)

    def exception(self, event: str, error: BaseException | None = None, **fields: Any) -> None:
        """An error with its traceback: ``error``, or the one that is being handled."""
        self._write(logging.ERROR, event, fields, error or True)

    def _write(self, level: int, event: str, fields: Mapping[str, Any], error: BaseException | bool = False) -> None:
        if self._logger.isEnabledFor(level):
            # "%s": an event that holds a percent sign is text, not a format
            extra = {_FIELDS: {**self._fields, **fields}}
            self._logger.log(level, "%s", event, exc_info=error or None, extra=extra)


def get_log(name: str, **fields: Any) -> Log:
    """Return the log of a module (``get_log(__name__)``)."""
    return Log(logging.getLogger(name), fields)


def own_log(name: str) -> Log:
    """Return a log that needs no ``set_up``: for a process whose loggers are of those that it forks."""
    logger = logging.Logger(name, logging.INFO)
    logger.addHandler(_handler(sys.stderr))
    return Log(logger, {})


def set_up(level: str = "info", stream: TextIO | None = None) -> None:
    """Send every logger's lines to ``stream`` (default: standard error) as JSON. Called once, at the start of a process."""
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(_handler(stream or sys.stderr))
    root.setLevel(level.upper())
    logging.captureWarnings(True)


def _handler(stream: TextIO) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    return handler
