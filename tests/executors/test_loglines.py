"""Log lines: one head each, clean, whole; output of programs becomes lines however it is cut."""

import re
import time

from hypothesis import given
from hypothesis import strategies as st

from executors.loglines import LINE_BYTES, Heads, Output, encode, entry

NOW = 1_700_000_000.25
HEAD = Heads().head("INFO", NOW)


def test_a_head_has_milliseconds_and_the_local_zone():
    expected = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(NOW)))
    assert f"{expected}.250 INFO " == HEAD
    heads = Heads()
    assert [heads.head("WARN", NOW + delta)[20:23] for delta in (0.0, 0.5, 0.7499, 0.75)] == ["250", "750", "999", "000"]


@given(st.text(max_size=300))
def test_an_entry_has_one_line_for_each_of_its_text(text):
    lines = entry(HEAD, text)
    assert lines.startswith(HEAD)
    assert lines.endswith("\n")
    assert lines.count("\n") == max(1, len(text.replace("\r\n", "\n").removesuffix("\n").split("\n")))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", lines)
    assert len(lines.splitlines()) == lines.count("\n")


def test_a_line_is_cut_at_64_kib_of_utf8_between_characters():
    lines = encode(entry(HEAD, "中" * 40_000 + "\nnext")).split(b"\n")
    assert LINE_BYTES - 3 < len(lines[0]) <= LINE_BYTES
    lines[0].decode()
    assert lines[1] == b"next"


@given(st.binary(max_size=400), st.data())
def test_output_gives_the_same_lines_however_it_is_cut(stream, data):
    whole = Output("INFO")
    expected = whole.feed(stream, NOW) + whole.end(NOW)
    output, found, at = Output("INFO"), b"", 0
    while at < len(stream):
        size = data.draw(st.integers(min_value=1, max_value=len(stream) - at))
        found += output.feed(stream[at : at + size], NOW)
        at += size
    found += output.end(NOW)
    assert found == expected
    lines = found.decode().split("\n")[:-1]
    assert all(line.startswith(HEAD) for line in lines)
    assert len(lines) == stream.count(b"\n") + (stream[-1:] not in (b"", b"\n"))


def test_lines_of_output_may_end_as_on_windows():
    output = Output("INFO")
    assert output.feed(b"a\r\nb\r\n", NOW) + output.feed(b"c\r", NOW) + output.feed(b"\n\r\n", NOW) == b"".join(
        HEAD.encode() + line + b"\n" for line in (b"a", b"b", b"c", b"")
    )


def test_a_line_of_output_that_does_not_end_becomes_several_and_loses_nothing():
    output, found = Output("WARN"), b""
    text = "ä" * 100_000
    for start in range(0, 200_000, 30_000):
        found += output.feed(text.encode()[start : start + 30_000], NOW)
    found += output.end(NOW)
    lines = found.decode().split("\n")[:-1]
    assert "".join(line[len(HEAD) :] for line in lines) == text
    assert all(len(line.encode()) <= LINE_BYTES for line in lines)
