"""What every storage must do (``common.storage.base.Storage``), whatever lies behind it."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest
from servers.seaweedfs import SeaweedFS

from common.errors import StorageForbidden, StorageNotFound
from common.storage.base import Storage
from common.storage.local import LocalStorage

FILES = {
    "a b": b"",
    "a-b": b"1",
    "a/b": b"22",
    "a/b-c": b"333",
    "a/b0/c": b"4444",
    "b.d/e": b"5",
    "ä/€ 𝄞": b"6",
    "z/z/z/z": os.urandom(300_000),
}


@pytest.fixture(params=["local", "objects"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage of each kind."""
    if request.param == "local":
        return LocalStorage("local", tmp_path)
    server: SeaweedFS = request.getfixturevalue("object_server")
    made: Storage = server.storage(request.getfixturevalue("place"))
    return made


@pytest.fixture
def filled(storage: Storage) -> Storage:
    for name, data in reversed(FILES.items()):
        storage.put(name, io.BytesIO(data), len(data))
    return storage


def test_what_was_put_is_read_back(filled: Storage) -> None:
    for name, data in FILES.items():
        entry = filled.stat(name)
        assert (entry.path, entry.size, entry.is_dir) == (name, len(data), False)
        assert entry.modified_ns > 0
        with filled.open(name) as stream:
            assert stream.read() == data


def test_a_list_is_sorted_by_path_and_can_be_taken_up_after_any_path(filled: Storage) -> None:
    names = sorted(FILES, key=str.encode)
    assert [entry.path for entry in filled.list()] == names
    for after in [*names, "a/", "a/zzz", "0", "zz"]:
        assert [e.path for e in filled.list("", after)] == [n for n in names if n.encode() > after.encode()], after


def test_a_list_below_a_prefix_holds_that_folder_only(filled: Storage) -> None:
    assert [entry.path for entry in filled.list("a")] == ["a/b", "a/b-c", "a/b0/c"]
    assert [entry.path for entry in filled.list("a/b-c")] == ["a/b-c"]
    assert [entry.path for entry in filled.list("a", "a/b")] == ["a/b-c", "a/b0/c"]


def test_children_are_sorted_by_name_and_tell_folders_from_files(filled: Storage) -> None:
    found = [(entry.path, entry.is_dir) for entry in filled.children("", _nothing)]
    assert found == [("a", True), ("a b", False), ("a-b", False), ("b.d", True), ("z", True), ("ä", True)]
    assert [(e.path, e.is_dir) for e in filled.children("a", _nothing)] == [
        ("a/b", False),
        ("a/b-c", False),
        ("a/b0", True),
    ]


def test_folders_have_no_size(filled: Storage) -> None:
    for path in ("", "a", "z/z"):
        entry = filled.stat(path)
        assert (entry.is_dir, entry.size) == (True, -1)


def test_a_part_can_be_read(filled: Storage) -> None:
    data = FILES["z/z/z/z"]
    for offset, length in ((0, 10), (1, 0), (299_990, 100), (100_000, 100_001), (300_000, 5), (0, None), (299_999, None)):
        with filled.open("z/z/z/z", offset, length) as stream:
            assert stream.read() == data[offset : None if length is None else offset + length]
    with filled.open("z/z/z/z", 5) as stream:
        assert (stream.read(3), stream.read(4), stream.read(0)) == (data[5:8], data[8:12], b"")


def test_a_reader_fills_slots_from_any_place(filled: Storage) -> None:
    data = FILES["z/z/z/z"]
    reader = filled.reader("z/z/z/z")
    try:
        assert reader.stat().size == len(data)
        for offset, sizes in ((0, (5, 7)), (123_456, (1, 100_000, 3)), (299_990, (8, 8)), (300_000, (4,))):
            slots = [memoryview(bytearray(size)) for size in sizes]
            count = reader.read_into(slots, offset)
            assert count == min(sum(sizes), len(data) - offset)
            assert b"".join(slots)[:count] == data[offset : offset + count]
    finally:
        reader.close()


def test_put_replaces(storage: Storage) -> None:
    storage.put("x/y", [b"first ", b"text"])
    storage.put("x/y", io.BytesIO(b"second"))
    assert storage.open("x/y").read() == b"second"


def test_put_is_all_or_nothing(storage: Storage) -> None:
    def breaking() -> object:
        yield b"x" * 20_000_000
        raise RuntimeError("the source broke")

    storage.put("kept", [b"old"])
    for name in ("new", "kept"):
        with pytest.raises(RuntimeError, match="the source broke"):
            storage.put(name, breaking())  # type: ignore[arg-type]
    assert [entry.path for entry in storage.list()] == ["kept"]
    assert storage.open("kept").read() == b"old"


def test_put_takes_more_than_one_part(storage: Storage) -> None:
    data = os.urandom(20_000_001)
    storage.put("large", (data[i : i + 1_000_000] for i in range(0, len(data), 1_000_000)))
    assert storage.open("large").read() == data


def test_delete_removes_one_object(filled: Storage) -> None:
    filled.delete("a/b")
    assert [entry.path for entry in filled.list("a")] == ["a/b-c", "a/b0/c"]
    with pytest.raises(StorageNotFound):
        filled.delete("a/b")


def test_what_is_not_there_is_not_found(filled: Storage) -> None:
    for ask in (
        lambda: filled.stat("nothing"),
        lambda: filled.open("nothing/at/all").read(),
        lambda: filled.reader("nothing"),
        lambda: list(filled.list("nothing")),
        lambda: list(filled.children("nothing", _nothing)),
        lambda: filled.delete("nothing"),
    ):
        with pytest.raises(StorageNotFound, match="nothing"):
            ask()


@pytest.mark.parametrize("path", ["../x", "a/../../x", "a//b", "./a", "a/.", "a\0b", "/a"])
def test_a_path_that_leads_elsewhere_is_refused(storage: Storage, path: str) -> None:
    for ask in (lambda: storage.stat(path), lambda: storage.put(path, [b"x"]), lambda: storage.open(path)):
        with pytest.raises(StorageForbidden):
            ask()


def test_several_threads_may_use_it(filled: Storage) -> None:
    wrong: list[object] = []

    def read() -> None:
        try:
            for name, data in FILES.items():
                if filled.open(name).read() != data:
                    wrong.append(name)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def _nothing(path: str, why: str) -> None:
    raise AssertionError(f"{path}: {why}")
