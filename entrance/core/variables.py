"""``${name}`` in the texts of a task's parameters, as Linkis substitutes them in code.

Ours is done after parsing, inside texts only, so that a value can never change the structure of the JSON. Built in are
``run_date`` (yesterday, or the day that the variables give, ``yyyyMMdd``) and ``run_date_std`` (``yyyy-MM-dd``), both with
days added or taken away: ``${run_date-7}``. Unknown names stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

_REFERENCE = re.compile(r"\$\{\s*(\w[\w.]*)\s*(?:([+-])\s*(\d{1,5})\s*)?\}")
_DATES = {"run_date": "%Y%m%d", "run_date_std": "%Y-%m-%d"}


def substituted(value: Any, variables: Mapping[str, Any], *, today: date) -> Any:
    """Return a JSON value with the references in its texts replaced."""
    run_date = _run_date(variables, today)

    def replace(match: re.Match[str]) -> str:
        name, sign, days = match[1], match[2], match[3]
        if name in _DATES:
            try:
                moved = run_date + timedelta(days=int(f"{sign}{days}") if sign else 0)
            except OverflowError:
                return match[0]
            return moved.strftime(_DATES[name])
        if name in variables and not sign:
            return _text(variables[name])
        return match[0]

    def walk(item: Any) -> Any:
        if isinstance(item, str):
            return _REFERENCE.sub(replace, item) if "${" in item else item
        if isinstance(item, dict):
            return {k: walk(v) for k, v in item.items()}
        if isinstance(item, list):
            return [walk(v) for v in item]
        return item

    return walk(value)


def _run_date(variables: Mapping[str, Any], today: date) -> date:
    for name, form in _DATES.items():
        try:
            return datetime.strptime(str(variables[name]), form).date()
        except (KeyError, ValueError):
            continue
    return today - timedelta(days=1)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
