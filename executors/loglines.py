"""Lines of a task's log: ``yyyy-MM-dd HH:mm:ss.SSS LEVEL text`` in the machine's time zone (Linkis' log text, chapter 10.1).

More lines of one entry follow without a head. Control characters except tab become U+FFFD, so do the line separators that
only some programs know; a line is cut at 64 KiB of UTF-8; what is no text (lone surrogates) is written as an escape.
"""

from __future__ import annotations

import re
import time

LINE_BYTES = 64 << 10
_PIECE_BYTES = LINE_BYTES - 128  # leaves room for a head
LEVELS = ("INFO", "WARN", "ERROR")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


class Heads:
    """Makes the heads of lines; formats the date once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._date = ""

    def head(self, level: str, now: float) -> str:
        """Return ``yyyy-MM-dd HH:mm:ss.SSS LEVEL `` for ``now`` in seconds since 1970."""
        second = int(now)
        if second != self._second:
            self._date = time.strftime("%Y-%m-%d %H:%M:%S.", time.localtime(second))
            self._second = second
        return f"{self._date}{int((now - second) * 1000):03d} {level} "


def clean(text: str) -> str:
    """Return ``text`` without control characters, ends of line and tabs apart."""
    return _CONTROL.sub("\ufffd", text.replace("\r\n", "\n"))


def entry(head: str, text: str) -> str:
    """Return one entry, its last line ended: ``head`` and the first line, further lines without a head."""
    if text.isprintable() and len(text) < LINE_BYTES // 8:
        return f"{head}{text}\n"
    lines = (head + clean(text).removesuffix("\n")).split("\n")
    return "".join(f"{_cut(line)}\n" for line in lines)


def encode(text: str) -> bytes:
    """Return the bytes of lines."""
    return text.encode("utf-8", "backslashreplace")


def _cut(line: str) -> str:
    if len(line) * 4 <= LINE_BYTES:
        return line
    return encode(line)[:LINE_BYTES].decode("utf-8", "ignore")


class Output:
    """Turns what a program writes into log lines, each with a head of its own.

    Bytes that are not UTF-8 are replaced. A line that does not end is held until it does; one
    over 64 KiB becomes several.
    """

    def __init__(self, level: str) -> None:
        self._level = level
        self._heads = Heads()
        self._held = b""

    def feed(self, data: bytes, now: float) -> bytes:
        """Return the lines that ``data`` ends, encoded; b"" if none."""
        whole, newline, rest = (self._held + data).rpartition(b"\n")
        whole = whole.removesuffix(b"\r")  # of the last line; those before it have their newlines still
        while len(rest) > _PIECE_BYTES:
            cut = _PIECE_BYTES
            while cut > _PIECE_BYTES - 4 and rest[cut] & 0xC0 == 0x80:  # not inside a character
                cut -= 1
            whole, newline, rest = whole + newline + rest[:cut], b"\n", rest[cut:]
        self._held = rest
        return self._lines(whole, now) if newline else b""

    def end(self, now: float) -> bytes:
        """Return what is held: a last line without an end."""
        rest, self._held = self._held, b""
        return self._lines(rest, now) if rest else b""

    def _lines(self, data: bytes, now: float) -> bytes:
        head = self._heads.head(self._level, now)
        text = clean(data.decode("utf-8", "replace"))
        if len(data) < LINE_BYTES - len(head):
            return encode(f"{head}{text}\n".replace("\n", f"\n{head}", text.count("\n")))
        return encode("".join(f"{_cut(head + line)}\n" for line in text.split("\n")))
