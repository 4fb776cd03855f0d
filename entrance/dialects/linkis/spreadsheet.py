"""Tables as files: CSV (RFC 4180) and Office Open XML workbooks (ECMA-376, ``.xlsx``), made row by row while they are sent.

Pure: rows in, bytes out; one page of rows is held. A workbook goes on with a further sheet where one is full.
"""

from __future__ import annotations

import csv
import io
import math
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from xml.sax.saxutils import escape, quoteattr

from executors.base import Column

Rows = Iterable[Sequence[Sequence[Any]]]  # pages

SHEET_ROWS = 1_048_576  # limits of the format, which programs refuse to exceed
SHEET_BYTES = 1 << 30  # of XML, so that no part needs the 64-bit form of ZIP, which some readers lack
CELL_CHARACTERS = 32_767
SHEET_NAME_CHARACTERS = 31
_EXACT_DIGITS = 15  # of a number: more become text, since cells are double-precision

_NUMBERS = frozenset({"tinyint", "short", "int", "long", "bigint", "float", "double", "decimal"})
_FORMULA = ("=", "+", "-", "@")
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # what XML 1.0 forbids
_ESCAPE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")  # what readers would take for an escaped character
_NEWLINES = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, kw_only=True)
class Form:
    """How cells are written. ``newlines``: line ends within cells are kept, else each becomes a blank."""

    null: str = "NULL"
    newlines: bool = False

    def text(self, value: Any) -> str:
        if value is None:
            return self.null
        if isinstance(value, bool):
            return "true" if value else "false"
        text = value if isinstance(value, str) else str(value)
        return text if self.newlines else _NEWLINES.sub(" ", text)


# ---- CSV ----------------------------------------------------------------------------------------------------------


def csv_file(
    columns: Sequence[Column],
    pages: Rows,
    form: Form,
    *,
    separator: str = ",",
    quote_all: bool = False,
    charset: str = "utf-8",
) -> Iterator[bytes]:
    """Yield a CSV file, names of columns first. Cells are quoted where they must be, or all with ``quote_all``.

    What ``charset`` has no character for becomes a question mark.
    """
    lines = _Lines()
    quoting: Literal[0, 1] = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    writer = csv.writer(lines, delimiter=separator, quoting=quoting, lineterminator="\r\n")
    writer.writerow([c.name for c in columns])
    for page in pages:
        writer.writerows([form.text(value) for value in row] for row in page)
        yield "".join(lines).encode(charset, "replace")
        lines.clear()
    yield "".join(lines).encode(charset, "replace")  # of a table without rows


class _Lines(list[str]):
    """Lines of a CSV file. They come with both characters of a line end, for cells with either of them to be quoted."""

    def write(self, line: str) -> None:
        self.append(line.removesuffix("\r\n") + "\n")


# ---- workbooks ----------------------------------------------------------------------------------------------------


def workbook(columns: Sequence[Column], pages: Rows, form: Form, *, sheet: str = "result") -> Iterator[bytes]:
    """Yield a workbook, names of columns in the first row of each sheet.

    Numbers and booleans stay what they are; a number that a cell cannot hold exactly becomes text. Text that a program might
    take for a formula begins with an apostrophe. A longer text than the format allows is cut.
    """
    out = _Out()
    names = _sheet_names(sheet)
    written: list[str] = []
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        rest = _flat(pages)
        first = next(rest, [])
        while first or not written:
            written.append(next(names))
            with archive.open(f"xl/worksheets/sheet{len(written)}.xml", "w") as part:
                part.write(_SHEET_HEAD + _row([_cell(c.name, "string", form, bold=True) for c in columns]))
                rows, size = 1, 0
                while first and rows < SHEET_ROWS and size < SHEET_BYTES:
                    take = first[: SHEET_ROWS - rows]
                    body = b"".join(
                        _row([_cell(v, c.type, form) for v, c in zip(row, columns, strict=True)]) for row in take
                    )
                    part.write(body)
                    rows, size = rows + len(take), size + len(body)
                    first = first[len(take) :] or next(rest, [])
                    yield out.taken()
                part.write(b"</sheetData></worksheet>")
        for name, text in _frame(written).items():
            archive.writestr(name, text)
    yield out.taken()


def _flat(pages: Rows) -> Iterator[Sequence[Sequence[Any]]]:
    return (page for page in pages if page)


class _Out(io.RawIOBase):
    """What the archive writes to: it cannot seek, and what was written is taken away."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        whole, self._parts = b"".join(self._parts), []
        return whole


def _row(cells: Sequence[str]) -> bytes:
    return f"<row>{''.join(cells)}</row>".encode()


def _cell(value: Any, kind: str, form: Form, *, bold: bool = False) -> str:
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if kind in _NUMBERS and isinstance(value, (int, float)) and _exact(value):
        return f"<c><v>{value}</v></c>"
    text = form.text(value)
    if kind not in _NUMBERS and not bold and text.startswith(_FORMULA):
        text = f"'{text}"
    text = _ESCAPE.sub("_x005F_", _ILLEGAL.sub("\ufffd", text[:CELL_CHARACTERS]))
    style = ' s="1"' if bold else ""
    return f'<c t="inlineStr"{style}><is><t xml:space="preserve">{escape(text)}</t></is></c>'


def _exact(value: int | float) -> bool:
    return math.isfinite(value) and (isinstance(value, float) or abs(value) < 10**_EXACT_DIGITS)


def _sheet_names(wanted: str) -> Iterator[str]:
    """Yield names for sheets: what the format forbids is left out."""
    plain = re.sub(r"[\[\]:*?/\\]", "", _ILLEGAL.sub("", wanted)).strip().strip("'") or "result"
    yield plain[:SHEET_NAME_CHARACTERS]
    number = 1
    while True:
        number += 1
        end = f"_{number}"
        yield plain[: SHEET_NAME_CHARACTERS - len(end)] + end


_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_KINDS = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_SHEET_HEAD = (
    f'{_XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
    '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>'
).encode()
_FONT = '<sz val="11"/><name val="Calibri"/>'
_STYLES = (
    f'{_XML}<styleSheet xmlns="{_MAIN}"><fonts count="2"><font>{_FONT}</font><font><b/>{_FONT}</font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs>'
    '<cellXfs count="2"><xf xfId="0"/><xf xfId="0" fontId="1" applyFont="1"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
)


def _frame(sheets: Sequence[str]) -> dict[str, str]:
    """Return the parts around the sheets, by path."""
    numbers = range(1, len(sheets) + 1)
    listed = "".join(
        f'<sheet name={quoteattr(name)} sheetId="{n}" r:id="rId{n}"/>' for n, name in zip(numbers, sheets, strict=True)
    )
    links = "".join(
        f'<Relationship Id="rId{n}" Type="{_LINKS}/worksheet" Target="worksheets/sheet{n}.xml"/>' for n in numbers
    )
    kinds = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{_KINDS}.worksheet+xml"/>' for n in numbers
    )
    return {
        "xl/workbook.xml": f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_LINKS}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">{links}'
        f'<Relationship Id="styles" Type="{_LINKS}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": _STYLES,
        "_rels/.rels": f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{_LINKS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "[Content_Types].xml": f'{_XML}<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_KINDS}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{_KINDS}.styles+xml"/>{kinds}</Types>',
    }
