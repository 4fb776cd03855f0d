"""Sizes as people write them: ``31.5GiB``, ``3MB``, ``1,048,576``.

The rules are Singularity's: a decimal number (commas are ignored, a fraction is allowed), optional spaces, a unit in
any case. No unit or ``B`` are bytes; ``K KB M MB ... EB`` powers of 1000; ``Ki KiB Mi ... EiB`` powers of 1024. The
number is a double, as there, and the product is cut to whole bytes.
"""

from __future__ import annotations

import re

from common.content.faults import BadSize

MAX_SIZE = (1 << 63) - 1

_PREFIXES = "kmgtpe"
_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate(_PREFIXES, start=1):
    _UNITS[_letter] = _UNITS[_letter + "b"] = 1000**_power
    _UNITS[_letter + "i"] = _UNITS[_letter + "ib"] = 1024**_power

_SIZE = re.compile(r"([0-9.,]+)\s*([A-Za-z]*)\s*", re.ASCII)
_NUMBER = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+", re.ASCII)


def parse_size(text: str) -> int:
    """Return the number of bytes, 0 to 2^63 - 1.

    Raises:
        BadSize: not a size, an unknown unit, or too large.
    """
    match = _SIZE.fullmatch(text) if len(text) <= 64 else None
    number = match.group(1).replace(",", "") if match else ""
    if match is None or not _NUMBER.fullmatch(number):
        raise BadSize(f"{text[:64]!r} is not a size such as 31.5GiB")
    unit = _UNITS.get(match.group(2).lower())
    if unit is None:
        raise BadSize(f"{text!r} has an unknown unit {match.group(2)!r}")
    value = int(float(number) * unit)
    if value > MAX_SIZE:
        raise BadSize(f"{text!r} is too large")
    return value


def show_size(size: int) -> str:
    """Return a size as people read it: ``512 MiB``, ``1.5 GiB``, ``1000 B``."""
    for factor, unit in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size} B"
