"""A local folder as a storage: order, whole writes, and nothing outside of it, ever."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from powers import without_override

from common.errors import BadInput, StorageForbidden, StorageNotFound
from common.storage import local, open_storage
from common.storage.local import LocalStorage, is_inside, shown


def storage(tmp_path: Path, **config: str) -> LocalStorage:
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    return LocalStorage("here", root, config)


def fill(tmp_path: Path, *names: str) -> None:
    for name in names:
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def children(of: LocalStorage, path: str = "") -> tuple[list[str], list[tuple[str, str]]]:
    told: list[tuple[str, str]] = []
    return [entry.path for entry in of.children(path, lambda *what: told.append(what))], told


def test_a_listing_is_sorted_by_the_bytes_of_whole_paths(tmp_path: Path) -> None:
    fill(tmp_path, "a/b", "a.txt", "a-", "a/b.c/d", "ab", "ü/x", "z")
    found = [entry.path for entry in storage(tmp_path).list()]
    assert found == sorted(found, key=os.fsencode) == ["a-", "a.txt", "a/b", "a/b.c/d", "ab", "z", "ü/x"]


def test_a_folder_is_listed_the_same_however_many_entries_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["b", "a", "ä", "Z", "c-", "c", "deep/er", "\U0001f600"]
    fill(tmp_path, *names)
    (tmp_path / "root" / "link").symlink_to("a")
    (tmp_path / "root" / os.fsdecode(b"x\xff")).touch()
    (tmp_path / "root" / os.fsdecode(b"x\xfe")).touch()
    here = storage(tmp_path)
    whole = [list(here.children("", lambda *what: None, tmp_path)), children(here)]
    for most in (1, 4, len(names) + 3, len(names) + 4):
        monkeypatch.setattr(local, "HELD_ENTRIES", most)
        assert [list(here.children("", lambda *what: None, tmp_path)), children(here)] == whole


def test_a_listing_can_be_taken_up_after_every_path(tmp_path: Path) -> None:
    fill(tmp_path, "a/b", "a.txt", "a-", "a/b.c/d", "ab", "z/1/2", "z/1/3")
    here = storage(tmp_path)
    every = [entry.path for entry in here.list()]
    for number, path in enumerate(every):
        assert [entry.path for entry in here.list(after=path)] == every[number + 1 :]
    assert [entry.path for entry in here.list(after="a/b.")] == every[every.index("a/b.c/d") :]


def test_a_listing_below_a_folder_or_of_one_file(tmp_path: Path) -> None:
    fill(tmp_path, "a/b", "a/c", "ab")
    here = storage(tmp_path)
    assert [entry.path for entry in here.list("a/")] == ["a/b", "a/c"]
    assert [entry.path for entry in here.list("ab")] == ["ab"]
    with pytest.raises(StorageNotFound, match="nothing is not there"):
        list(here.list("nothing"))


def test_what_is_put_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    here = storage(tmp_path)
    here.put("new/folder/file", [b"one", b"two"])
    assert (tmp_path / "root/new/folder/file").read_bytes() == b"onetwo"

    def broken() -> object:
        yield b"half"
        raise OSError("the line is cut")

    with pytest.raises(Exception, match="cut"):
        here.put("new/folder/file", broken())  # type: ignore[arg-type]
    assert [entry.path for entry in here.list()] == ["new/folder/file"]
    assert (tmp_path / "root/new/folder/file").read_bytes() == b"onetwo"
    assert os.listdir(tmp_path / "root/new/folder") == ["file"]


def test_parts_of_a_file_can_be_read(tmp_path: Path) -> None:
    here = storage(tmp_path)
    here.put("file", [bytes(range(200))])
    with here.open("file", 10, 5) as stream:
        assert stream.read(3) + stream.read() == bytes(range(10, 15))
    reader = here.reader("file")
    buffer = bytearray(30)
    view = memoryview(buffer)
    assert reader.read_into([view[20:], view[:5]], 100) == 15
    assert bytes(view[20:]) + bytes(view[:5]) == bytes(range(100, 115))
    assert reader.read_into([view], 190) == 10
    assert reader.stat().size == 200
    reader.close()


def test_more_slots_than_one_call_takes_are_filled(tmp_path: Path) -> None:
    here = storage(tmp_path)
    data = os.urandom(5000)
    here.put("file", [data])
    buffer = bytearray(5000)
    view = memoryview(buffer)
    reader = here.reader("file")
    assert reader.read_into([view[n : n + 2] for n in range(0, 5000, 2)], 0) == 5000
    reader.close()
    assert bytes(buffer) == data


@pytest.mark.parametrize("path", ["../outside", "a/../../outside", "/etc/passwd", "a//b", ".", "", "a/./b", "a\0b"])
def test_paths_that_do_not_name_something_inside_are_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").write_text("secret")
    fill(tmp_path, "a/b")
    here = storage(tmp_path)
    for use in (here.open, here.reader, here.delete, lambda p: here.put(p, [b"x"])):
        with pytest.raises(StorageForbidden):
            use(path)


def test_links_are_never_followed(tmp_path: Path) -> None:
    fill(tmp_path, "real/file")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    (tmp_path / "root/away").symlink_to(tmp_path / "outside")
    (tmp_path / "root/file").symlink_to(tmp_path / "outside/secret")
    (tmp_path / "root/near").symlink_to("real")
    here = storage(tmp_path)
    for path in ("away/secret", "file", "near/file"):
        with pytest.raises((StorageForbidden, StorageNotFound)):
            here.open(path)
    assert children(here) == (
        ["real"],
        [(name, "it is a symbolic link") for name in ("away", "file", "near")],
    )
    with pytest.raises((StorageForbidden, StorageNotFound)):
        here.put("away/new", [b"x"])
    assert os.listdir(tmp_path / "outside") == ["secret"]


def test_links_inside_are_followed_when_that_is_wanted_but_never_outside_or_in_circles(tmp_path: Path) -> None:
    fill(tmp_path, "real/file", "real/deep/x")
    (tmp_path / "outside").write_text("secret")
    root = tmp_path / "root"
    (root / "near").symlink_to("real")
    (root / "one").symlink_to("real/file")
    (root / "away").symlink_to(tmp_path / "outside")
    (root / "dead").symlink_to("nothing")
    (root / "real/deep/up").symlink_to("../..")
    (root / "real/again").symlink_to("deep")
    here = storage(tmp_path, copy_links="true")
    found, told = children(here)
    assert found == ["near", "one", "real"]
    assert [path for path, _ in told] == ["away", "dead"]
    with here.open("near/file") as stream:
        assert stream.read() == b"real/file"
    with here.open("one") as stream:
        assert stream.read() == b"real/file"
    assert [entry.path for entry in here.list()] == [
        "near/again/x",
        "near/deep/x",
        "near/file",
        "one",
        "real/again/x",
        "real/deep/x",
        "real/file",
    ]
    with pytest.raises(StorageForbidden):
        here.open("away")


def test_a_folder_swapped_for_a_link_while_it_is_in_use_leads_nowhere(tmp_path: Path) -> None:
    fill(tmp_path, "d/file")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("secret")
    here = storage(tmp_path)
    with here.open("d/file") as stream:
        assert stream.read() == b"d/file"
    (tmp_path / "root/d").rename(tmp_path / "root/old")
    (tmp_path / "root/d").symlink_to(tmp_path / "outside")
    with here.open("d/file") as stream:  # the folder that was opened before is still the old one
        assert stream.read() == b"d/file"
    with pytest.raises((StorageForbidden, StorageNotFound)):
        storage(tmp_path).open("d/file")


def test_errors_are_three_and_name_the_path(tmp_path: Path) -> None:
    fill(tmp_path, "closed/file", "unreadable", "folder/x")
    here = storage(tmp_path)
    (tmp_path / "root/closed").chmod(0)
    (tmp_path / "root/unreadable").chmod(0)
    os.mkfifo(tmp_path / "root/pipe")
    with without_override():
        with pytest.raises(StorageForbidden, match=r"closed/file: Permission denied"):
            here.open("closed/file")
        with pytest.raises(StorageForbidden, match=r"unreadable: Permission denied"):
            here.open("unreadable")
    (tmp_path / "root/closed").chmod(0o755)
    with pytest.raises(StorageNotFound, match=r"folder/y is not there"):
        here.stat("folder/y")
    with pytest.raises(StorageForbidden, match=r"pipe is no regular file"):
        here.open("pipe")
    with pytest.raises(StorageForbidden, match=r"pipe is a named pipe"):
        here.stat("pipe")
    assert here.stat("folder").is_dir


def test_names_that_are_not_utf8_survive_the_way_there_and_back(tmp_path: Path) -> None:
    here = storage(tmp_path)
    raw = os.fsdecode(b"b\xff")
    here.put(raw, [b"data"])
    assert [entry.path for entry in here.list()] == [raw]
    with here.open(raw) as stream:
        assert stream.read() == b"data"
    assert shown(raw) == "b\ufffd"


def test_threads_do_not_share_open_folders(tmp_path: Path) -> None:
    names = [f"{n}/{m}" for n in range(40) for m in range(3)]
    fill(tmp_path, *names)
    here = storage(tmp_path)
    wrong: list[str] = []

    def read() -> None:
        for _ in range(5):
            for name in names:
                with here.open(name) as stream:
                    if stream.read() != name.encode():
                        wrong.append(name)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_storage_is_opened_by_its_settings(tmp_path: Path) -> None:
    opened = open_storage("mine", {"type": "local", "path": str(tmp_path), "config": {}, "client_config": {}})
    assert (opened.name, opened.type) == ("mine", "local")
    with pytest.raises(BadInput, match="storage type tape is not supported"):
        open_storage("mine", {"type": "tape", "path": "/"})
    with pytest.raises(BadInput, match="not absolute"):
        open_storage("mine", {"type": "local", "path": "relative"})


@pytest.mark.parametrize(
    ("path", "folder", "inside"),
    [("/a/b", "/a", True), ("/a", "/a", True), ("/ab", "/a", False), ("/a", "/", True), ("/", "/a", False)],
)
def test_inside_is_by_whole_components(path: str, folder: str, inside: bool) -> None:
    assert is_inside(path, folder) is inside
