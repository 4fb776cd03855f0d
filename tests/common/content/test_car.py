"""CARv1 files."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.content import car, cid, varint
from common.content.car import CarReader, CarWriter, Limits, Section
from common.content.faults import BadCar, BadCid, ContentError, LimitExceeded, TruncatedCar

BLOCKS = st.lists(st.binary(max_size=300), max_size=12)


def car_of(parts: list[bytes], root: bytes = cid.EMPTY_RAW) -> bytes:
    stream = io.BytesIO()
    writer = CarWriter(stream, root)
    for part in parts:
        writer.write(cid.of_raw(part), part)
    assert writer.length == len(stream.getvalue())
    return stream.getvalue()


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._stream, self._step = io.BytesIO(data), step

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(min(size, self._step))


def test_the_known_header(vectors: Callable[[str], Any]) -> None:
    row = vectors("unixfs")["car"]
    assert car.header(cid.EMPTY_RAW).hex() == row["headerHexForEmptyRawRoot"]
    assert car.HEADER_LENGTH == row["headerBytes"] == len(car.header(cid.EMPTY_RAW))


def test_a_root_of_another_length_is_refused() -> None:
    with pytest.raises(BadCid):
        car.header(b"\x12\x20" + bytes(32))


@given(BLOCKS, st.integers(1, 400), st.integers(0, 50))
def test_a_car_is_read_as_it_was_written_and_the_padding_is_left(parts: list[bytes], step: int, zeros: int) -> None:
    data = car_of(parts)
    reader = CarReader(cast(BinaryIO, Trickle(data + bytes(zeros), step)))
    sections = list(reader)
    assert reader.roots == (cid.EMPTY_RAW,)
    assert reader.header_length == car.HEADER_LENGTH
    assert [(section.cid, section.data) for section in sections] == [(cid.of_raw(part), part) for part in parts]
    at = car.HEADER_LENGTH
    for section in sections:
        assert section.offset == at
        assert data[section.data_offset : section.end] == section.data
        assert section.end - section.offset == car.section_length(len(section.data))
        at = section.end
    assert reader.padding_offset == at == len(data)
    assert reader.check_padding() == zeros


@given(BLOCKS.filter(bool), st.data())
def test_a_section_is_read_at_its_offset(parts: list[bytes], draw: st.DataObject) -> None:
    data = car_of(parts)
    section = draw.draw(st.sampled_from(list(CarReader(io.BytesIO(data)))))
    with open_bytes(data) as file:
        assert car.read_section(file.fileno(), section.offset) == section


def open_bytes(data: bytes) -> BinaryIO:
    file = os.fdopen(os.memfd_create("car"), "w+b")
    file.write(data)
    file.flush()
    return file


def test_sections_of_other_programs_with_several_roots_and_cid_kinds_are_read() -> None:
    v0 = b"\x12\x20" + bytes(32)
    identity = b"\x01\x55\x00\x02hi"
    root = b"\xd8\x2a\x58\x25\x00" + cid.EMPTY_RAW
    head = b"\xa2\x65roots\x82" + root + root + b"\x67version\x01"
    body = b"".join(varint.encode(len(name) + 3) + name + b"abc" for name in (v0, identity))
    reader = CarReader(io.BytesIO(varint.encode(len(head)) + head + body))
    assert reader.roots == (cid.EMPTY_RAW, cid.EMPTY_RAW)
    assert [(section.cid, section.data) for section in reader] == [(v0, b"abc"), (identity, b"abc")]


def test_padding_that_is_not_zero_is_a_fault_with_its_offset() -> None:
    data = car_of([b"abc"])
    reader = CarReader(io.BytesIO(data + bytes(100) + b"\x07" + bytes(9)))
    assert len(list(reader)) == 1
    with pytest.raises(BadCar, match=f"0x07 at offset {len(data) + 100}"):
        reader.check_padding()


def headed(body: bytes) -> bytes:
    return varint.encode(len(body)) + body


SECTION = car.section_prefix(cid.EMPTY_RAW, 4) + b"data"
HEAD = car.header(cid.EMPTY_RAW)


@pytest.mark.parametrize(
    ("data", "kind", "fault"),
    [
        (b"", TruncatedCar, "an empty file is not a CAR"),
        (b"\x00" * 40, BadCar, "not DAG-CBOR|version"),
        (HEAD[:30], TruncatedCar, "the CAR header has 58 bytes, 29 are there"),
        (b"\xff" * 20, BadCar, "the CAR header has no length"),
        (varint.encode(1 << 40), LimitExceeded, "header has 1099511627776 bytes, more than the limit of 1048576"),
        (b"\x03\xa2\x65x", BadCar, "not DAG-CBOR"),
        (b"\x0a\xa1gversion\x02", BadCar, "version 2, not 1"),
        (b"\x0a\xa1gversion\x01", BadCar, "no list of roots"),
        (headed(b"\xa2eroots\x41xgversion\x01"), BadCar, "no list of roots"),
        (headed(b"\xa2eroots\x81\x41xgversion\x01"), BadCar, "a root that is not a CID"),
        (HEAD + SECTION[:-1], TruncatedCar, "the section at offset 59 has 40 bytes, 39 are there"),
        (HEAD + SECTION + b"\x80", TruncatedCar, "the file ends in the length of the section at offset 100"),
        (HEAD + b"\xff" * 12, BadCar, "the section at offset 59 has no length"),
        (HEAD + b"\x80\x00" + bytes(9), BadCar, "the section at offset 59 has no length"),
        (HEAD + varint.encode(9 << 20), LimitExceeded, "offset 59 has 9437184 bytes, more than the limit of 8388608"),
        (HEAD + b"\x03\x01\x55\x12", BadCar, "the section at offset 59 has no CID"),
        (HEAD + b"\x05\x01\x55\x12\x20\x00", BadCar, "the section at offset 59 has no CID"),
    ],
)  # fmt: skip
def test_each_defect_is_named_with_its_offset(data: bytes, kind: type[ContentError], fault: str) -> None:
    with pytest.raises(kind, match=fault):
        list(CarReader(io.BytesIO(data)))


def test_limits_can_be_set() -> None:
    data = car_of([b"x" * 100])
    assert len(list(CarReader(io.BytesIO(data), Limits(max_section=136)))) == 1
    with pytest.raises(LimitExceeded):
        list(CarReader(io.BytesIO(data), Limits(max_section=135)))


def test_a_hostile_length_does_not_make_the_reader_allocate_it() -> None:
    reader = CarReader(io.BytesIO(HEAD + varint.encode(8 << 20) + bytes(10)))
    with pytest.raises(TruncatedCar, match="8388608 bytes, 10 are there"):
        next(iter(reader))


@given(st.binary(max_size=200))
def test_random_bytes_are_a_car_or_a_fault(data: bytes) -> None:
    for candidate in (data, HEAD + data):
        try:
            list(CarReader(io.BytesIO(candidate)))
        except ContentError:
            continue


@given(BLOCKS.filter(bool), st.data())
def test_a_damaged_car_is_a_car_or_a_fault(parts: list[bytes], draw: st.DataObject) -> None:
    data = bytearray(car_of(parts))
    data[draw.draw(st.integers(0, len(data) - 1))] ^= draw.draw(st.integers(1, 255))
    sections: list[Section] = []
    try:
        sections.extend(CarReader(io.BytesIO(bytes(data))))
    except ContentError:
        return
    assert all(section.end <= len(data) for section in sections)


@pytest.mark.parametrize("offset", [58, 59 + 41, 10_000])
def test_reading_a_section_where_there_is_none_is_a_fault(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "a.car"
    path.write_bytes(HEAD + SECTION + bytes(20))
    with path.open("rb") as file:
        assert car.read_section(file.fileno(), 59).data == b"data"
        with pytest.raises(ContentError):
            car.read_section(file.fileno(), offset)
