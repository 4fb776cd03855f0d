"""CAR index files."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.content import cid
from common.content.faults import BadIndex
from common.content.index import HEADER_LENGTH, RECORD_LENGTH, IndexReader, IndexWriter

IN_ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def plain_index(records: list[tuple[bytes, int]]) -> bytes:
    """The format, said a second time: only SHA2-256."""
    head = b"\x81\x08" + struct.pack("<i", 1) + struct.pack("<Q", 0x12) + struct.pack("<i", 1)
    head += struct.pack("<I", 40) + struct.pack("<q", 40 * len(records))
    return head + b"".join(name[4:] + struct.pack("<Q", at) for name, at in sorted((n, o) for n, o in records))


def write(path: Path, records: list[tuple[bytes, int]], run_records: int = 1 << 16) -> Path:
    writer = IndexWriter(path.parent, run_records=run_records)
    for name, offset in records:
        writer.add(name, offset)
    with path.open("wb") as stream:
        assert writer.write(stream) == stream.tell()
    return path


@IN_ONE_FOLDER
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1 << 40)), max_size=80), st.integers(1, 90))
def test_an_index_is_the_sorted_records_and_finds_every_one(
    tmp_path: Path, pairs: list[tuple[int, int]], run_records: int
) -> None:
    records = [(cid.of_raw(b"%d" % number), offset) for number, offset in pairs]
    path = write(tmp_path / "a.idx", records, run_records)
    assert path.read_bytes() == plain_index(records)
    with IndexReader(path) as index:
        assert len(index) == len(records)
        assert [(digest, offset) for _, digest, offset in index.records()] == sorted(
            (name[4:], offset) for name, offset in records
        )
        for number in range(42):
            name = cid.of_raw(b"%d" % number)
            assert index.find(name) == sorted(offset for other, offset in records if other == name)


def test_a_large_index_with_one_digest_very_often_is_merged_from_runs(tmp_path: Path) -> None:
    records = [(cid.of_raw(b"%d" % (n if n % 2 else 0)), n) for n in range(6000)]
    path = write(tmp_path / "a.idx", records, run_records=100)
    assert path.read_bytes() == plain_index(records)
    with IndexReader(path) as index:
        assert index.find(cid.of_raw(b"0")) == list(range(0, 6000, 2))


def test_a_batch_is_the_same_as_its_records(tmp_path: Path) -> None:
    names = [cid.of_raw(b"%d" % n) for n in range(1000)]
    writer = IndexWriter(tmp_path, run_records=64)
    writer.add_many(b"".join(name[4:] for name in names), np.arange(1000, dtype=np.int64))
    stream = io.BytesIO()
    writer.write(stream)
    assert len(writer) == 1000
    assert stream.getvalue() == plain_index([(name, n) for n, name in enumerate(names)])


def test_codecs_share_a_digest_and_are_found_by_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.idx", [(cid.of_raw(b"x"), 5), (cid.of_dag_pb(b"x"), 9)])
    with IndexReader(path) as index:
        assert index.find(cid.of_dag_pb(b"x")) == [5, 9]
        assert index.find(cid.of_dag_pb(b"x")[2:]) == [5, 9]


def test_an_index_of_several_hash_functions_and_widths_is_read(tmp_path: Path) -> None:
    def group(width: int, records: list[bytes]) -> bytes:
        return struct.pack("<Iq", width, width * len(records)) + b"".join(records)

    one = b"a" * 32 + struct.pack("<Q", 1)
    two = b"b" * 64 + struct.pack("<Q", 2)
    data = b"\x81\x08" + struct.pack("<i", 2)
    data += struct.pack("<Qi", 0x12, 1) + group(40, [one])
    data += struct.pack("<Qi", 0x13, 2) + group(40, []) + group(72, [two])
    path = tmp_path / "other.idx"
    path.write_bytes(data)
    with IndexReader(path) as index:
        assert len(index) == 2
        assert index.find(b"\x01\x55\x13\x40" + b"b" * 64) == [2]
        assert index.find(b"\x01\x55\x13\x20" + b"a" * 32) == []
        assert [record[0] for record in index.records()] == [0x12, 0x13]


GOOD = plain_index([(cid.of_raw(b"%d" % n), n) for n in range(3)])


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "begins with"),
        (b"\x80\x08" + GOOD[2:], "begins with 8008, not with 8108"),
        (GOOD[:4], "ends at offset 4, inside a number"),
        (GOOD[:-1], "120 bytes of records at offset 30, 119 are left"),
        (b"\x81\x08" + struct.pack("<i", 1 << 30), "1073741824 hash functions, more than the limit of 64"),
        (b"\x81\x08" + struct.pack("<i", -1), "-1 hash functions"),
        (b"\x81\x08" + struct.pack("<iQi", 1, 0x12, 1 << 30), "1073741824 widths"),
        (b"\x81\x08" + struct.pack("<iQiIq", 1, 0x12, 1, 7, 0), "records of 7 bytes"),
        (b"\x81\x08" + struct.pack("<iQiIq", 1, 0x12, 1, 40, -40), "-40 bytes of records"),
        (b"\x81\x08" + struct.pack("<iQiIq", 1, 0x12, 1, 40, 41) + bytes(41), "41 bytes of records"),
    ],
)
def test_each_defect_is_named(tmp_path: Path, data: bytes, fault: str) -> None:
    path = tmp_path / "bad.idx"
    path.write_bytes(data)
    with pytest.raises(BadIndex, match=fault):
        IndexReader(path)


@IN_ONE_FOLDER
@given(st.binary(max_size=120), st.booleans())
def test_random_bytes_are_an_index_or_a_fault(tmp_path: Path, data: bytes, prefixed: bool) -> None:
    path = tmp_path / "random.idx"
    path.write_bytes(b"\x81\x08" + data if prefixed else data)
    try:
        with IndexReader(path) as index:
            index.find(cid.EMPTY_RAW)
            list(index.records())
    except BadIndex:
        return


def test_an_index_that_shrinks_while_it_is_open_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "shrinks.idx"
    path.write_bytes(GOOD)
    with IndexReader(path) as index:
        with path.open("r+b") as file:
            file.truncate(HEADER_LENGTH + RECORD_LENGTH)
        with pytest.raises(BadIndex, match="ends before record"):
            list(index.records())
