"""The transfer executor between folders and a real S3 server, run in this process over a real database."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import harness as harness_module
import pytest
from harness import Context, Harness
from servers.proxy import Proxy
from servers.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS

from common.clock import SystemClock
from common.errors import InvalidParams
from common.storage.objects import ObjectStorage
from common.storage.secrets import Secrets
from common.task import State, Task
from entrance.core import preparations
from entrance.core.making import create_storage
from entrance.core.preparations import Preparations
from executors.base import StopRequested
from executors.params import load_params
from executors.transfer import Transfer

MIB = 1 << 20


class Copies:
    """A harness with storages by name, and transfers between them."""

    def __init__(self, folder: Path, server: SeaweedFS, root: str) -> None:
        harness_module.EXECUTORS["transfer"] = Transfer()
        self.harness = Harness(folder / "service")
        self.folder, self.server, self.root = folder, server, root
        self.secrets = Secrets(folder / "key", {})
        self.harness.hooks = Preparations(SystemClock(), self.secrets, allowed_endpoints=["127.0.0.1"])
        self.rows: Any = None

    def local(self, name: str) -> Path:
        """Make a folder and a storage of it."""
        path = self.folder / name
        path.mkdir()
        self.harness.allow(path)
        with self.harness.tx() as tx:
            create_storage(tx, user="alice", name=name, type="local", path=str(path), now=0)
        return path

    def bucket(self, name: str, **config: str) -> ObjectStorage:
        """Make a storage of a prefix of the test's own."""
        path = f"{self.root}/{name}"
        settings = self.server.settings(path, **config)
        plain = dict(settings["config"])
        keys = {key: plain.pop(key) for key in ("access_key_id", "secret_access_key")}
        with self.harness.tx() as tx:
            create_storage(
                tx,
                user="alice",
                name=name,
                type="s3",
                path=path,
                config=plain,
                client_config=settings["client_config"],
                secrets=self.secrets.encrypt(json.dumps(keys)),
                now=0,
            )
        return self.server.storage(path)

    def add(self, source: str, target: str, **more: Any) -> Task:
        def side(text: str) -> dict[str, str]:
            storage, _, path = text.partition(":")
            return {"storage": storage, "path": path}

        return self.harness.add("transfer", {"from": side(source), "to": side(target), **more})

    def run(self, source: str, target: str, **more: Any) -> Task:
        """Run a transfer in one attempt; ``rows`` holds its result, by object."""
        return self.go_on(self.add(source, target, **more))

    def go_on(self, task: Task, hook: Callable[[str, Context], None] | None = None) -> Task:
        self.harness.results = None
        task = self.harness.attempt(task.id, hook)
        self.rows = {row[0]: tuple(row[1:]) for row in self.harness.results or ()}
        return task

    def paused(self, task: Task, when: Callable[[], bool]) -> None:
        """Run an attempt until ``when`` says so, then stop it; the task is queued again."""

        def hook(kind: str, context: Context) -> None:
            if kind == "step" and when():
                raise StopRequested

        stopped = self.go_on(task, hook)
        assert not stopped.state.final, (stopped.state, stopped.reason)
        with self.harness.tx() as tx:
            tx.connection.execute("UPDATE tasks SET state = 'queued', pause_requested = 0 WHERE id = ?", (task.id,))

    def files(self, task: Task) -> dict[str, tuple[int, str, str]]:
        """Return what is stored of each file: size, state, fault."""
        found = self.harness.catalogue.transfer_files(task.id)
        return {file.path: (file.size, file.state.value, file.fault.value) for file in found}

    def log(self, task: Task, level: str = "") -> str:
        return self.harness.reports[task.id].text(level)


@pytest.fixture
def copies(tmp_path: Path, object_server: SeaweedFS, place: str) -> Iterator[Copies]:
    made = Copies(tmp_path, object_server, place)
    yield made
    made.harness.close()


def fill(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def content(storage: ObjectStorage) -> dict[str, bytes]:
    return {entry.path: storage.open(entry.path).read() for entry in storage.list()}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


FILES = {
    "a.txt": b"a",
    "a/b.txt": b"bb",
    "a-b/c": b"",
    "ä ö/+%20?#&=.bin": os.urandom(70_000),
    "deep/er/and/deeper/x": os.urandom(1000),
    "large": os.urandom(9 * MIB + 17),
}


def test_a_folder_goes_into_a_bucket_and_comes_back_the_same(copies: Copies) -> None:
    source, back = copies.local("source"), copies.local("back")
    fill(source, FILES)
    bucket = copies.bucket("bucket")

    there = copies.run("source", "bucket:in/here")
    assert (there.state, there.reason) == (State.SUCCEEDED, None)
    assert content(bucket) == {f"in/here/{name}": data for name, data in FILES.items()}
    assert copies.rows == {name: (len(data), "copied", "") for name, data in FILES.items()}
    assert copies.files(there) == {name: (len(data), "succeeded", "") for name, data in FILES.items()}

    home = copies.run("bucket:in/here", "back")
    assert (home.state, home.reason) == (State.SUCCEEDED, None)
    assert tree(back) == FILES


def test_a_bucket_goes_into_a_bucket_and_a_folder_into_a_folder(copies: Copies) -> None:
    source, other = copies.local("source"), copies.local("other")
    fill(source, FILES)
    copies.bucket("one")
    two = copies.bucket("two")
    for from_, to in (("source", "one"), ("one", "two:sub"), ("source", "other:sub")):
        assert copies.run(from_, to).state is State.SUCCEEDED
    assert content(two) == {f"sub/{name}": data for name, data in FILES.items()}
    assert tree(other / "sub") == FILES


def test_a_single_file_goes_into_a_folder_or_becomes_the_file_that_is_named(copies: Copies) -> None:
    source, target = copies.local("source"), copies.local("target")
    fill(source, {"a/file": b"1"})
    (target / "folder").mkdir()
    for to in ("target", "target:folder", "target:new/name"):
        assert copies.run("source:a/file", to).state is State.SUCCEEDED
    assert tree(target) == {"file": b"1", "folder/file": b"1", "new/name": b"1"}


def test_patterns_choose_files(copies: Copies) -> None:
    source, target = copies.local("source"), copies.local("target")
    fill(source, dict.fromkeys(("a.csv", "b.txt", "in/c.csv", "in/d.tmp.csv", "git/e.csv", "in/git/f.csv"), b"x"))
    done = copies.run("source", "target", include=["*.csv"], exclude=["*.tmp.*", "git/"])
    assert done.state is State.SUCCEEDED
    assert set(tree(target)) == {"a.csv", "in/c.csv", "in/git/f.csv"}


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_overwrite_decides_what_is_done_about_files_that_are_there(copies: Copies, kind: str) -> None:
    source = copies.local("source")
    target = copies.local("target") if kind == "folder" else copies.bucket("target")
    seen = (lambda: tree(target)) if isinstance(target, Path) else (lambda: content(target))
    fill(source, {"same": b"same", "changed": b"old"})
    long_ago = time.time() - 10_000
    for name in ("same", "changed"):
        os.utime(source / name, (long_ago, long_ago))
    copies.run("source", "target")
    fill(source, {"changed": b"newer", "new": b"new"})
    os.utime(source / "new", (long_ago, long_ago))  # stores tell times in seconds: what is that new is copied again

    assert copies.run("source", "target", overwrite="never").state is State.SUCCEEDED
    assert seen() == {"same": b"same", "changed": b"old", "new": b"new"}
    assert copies.rows["changed"][1:] == ("unchanged", "it exists")
    copies.run("source", "target")
    assert seen()["changed"] == b"newer"
    assert {name: row[1] for name, row in copies.rows.items()} == {
        "same": "unchanged",
        "changed": "copied",
        "new": "unchanged",
    }
    copies.run("source", "target", overwrite="always")
    assert {row[1] for row in copies.rows.values()} == {"copied"}


def test_a_long_result_is_read_from_the_catalogue_by_page(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = copies.local("source"), copies.local("target")
    names = [f"{n:02}" for n in range(30)]
    fill(source, {name: name.encode() for name in names})
    fill(target, {name: name.encode() for name in names[3:9]})
    task = copies.run("source", "target")
    wanted = [(name, 2, "unchanged" if 3 <= n < 9 else "copied", "") for n, name in enumerate(names)]
    hooks = copies.harness.hooks
    with copies.harness.tx() as tx:
        assert hooks.results(tx, task, 0, 10) is None
        monkeypatch.setattr(preparations, "RESULT_ROWS", 20)
        for offset, limit in ((0, 10), (5, 13), (25, 100), (30, 5), (31, 5)):
            page = wanted[offset : offset + limit], 30
            assert hooks.results(tx, task, offset, limit) == page
            assert hooks.results(tx, task, offset, limit, wanted[offset - 1] if 0 < offset <= 30 else None) == page
    assert set(copies.files(task).values()) == {(2, "succeeded", "")}


def test_a_file_that_cannot_be_copied_does_not_hold_up_the_others(copies: Copies) -> None:
    source, target = copies.local("source"), copies.local("target")
    fill(source, {"bad/file": b"1", "good": b"2", "name/ÿ": b"3"})
    (target / "bad").write_bytes(b"a file where a folder should be")
    ended = copies.run("source", "target")
    assert ended.state is State.FAILED
    assert ended.reason is not None
    assert ended.reason.startswith("1 of 3 files could not be copied; the first: bad/file: ")
    assert (target / "good").read_bytes() == b"2"
    assert copies.files(ended)["bad/file"][1:] in {("failed", "not_found"), ("failed", "forbidden"), ("failed", "store")}
    assert "bad/file: " in copies.log(ended, "WARN")


def test_a_name_that_is_not_utf_8_survives_between_folders_and_is_refused_by_a_bucket(copies: Copies) -> None:
    source, target = copies.local("source"), copies.local("target")
    copies.bucket("bucket")
    name = os.fsdecode(b"\xff\xfe")
    (source / name).write_bytes(b"odd")
    assert copies.run("source", "target").state is State.SUCCEEDED
    assert (target / name).read_bytes() == b"odd"
    ended = copies.run("source", "bucket")
    assert ended.state is State.FAILED
    assert "not UTF-8" in (ended.reason or "")


def test_symbolic_links_are_left_out_and_never_followed_at_the_target(copies: Copies, tmp_path: Path) -> None:
    source, target = copies.local("source"), copies.local("target")
    outside = tmp_path / "outside"
    outside.mkdir()
    fill(source, {"sub/file": b"1"})
    (source / "link").symlink_to("/etc/passwd")
    (target / "sub").symlink_to(outside)
    ended = copies.run("source", "target")
    assert ended.state is State.FAILED
    assert list(outside.iterdir()) == []
    assert "link: left out: it is a symbolic link" in copies.log(ended, "WARN")


def test_parameters_that_cannot_be_right_are_told_at_once() -> None:
    with pytest.raises(InvalidParams) as found:
        load_params(
            Transfer(),
            {"from": {"storage": "a", "path": "x/../y"}, "to": {"storage": ""}, "overwrite": "maybe", "odd": 1},
        )
    assert {fault.path for fault in found.value.faults} == {"to.storage", "overwrite", "odd"}
    with pytest.raises(InvalidParams, match="lie in the place"):
        load_params(Transfer(), {"from": {"storage": "a", "path": "x"}, "to": {"storage": "a", "path": "x/y"}})


def test_places_that_lie_in_each_other_by_other_names_are_refused(copies: Copies) -> None:
    outer = copies.local("outer")
    (outer / "inner").mkdir()
    with copies.harness.tx() as tx:
        create_storage(tx, user="alice", name="inner", type="local", path=str(outer / "inner"), now=0)
    assert "lie in each other" in (copies.run("outer", "inner").reason or "")


def test_a_download_goes_on_after_a_pause_where_it_was(copies: Copies) -> None:
    data = os.urandom(40 * MIB)
    bucket = copies.bucket("bucket")
    bucket.put("big", iter([data[i : i + MIB] for i in range(0, len(data), MIB)]))
    target = copies.local("target")
    task = copies.add("bucket", "target")
    part = lambda: next(target.glob(".*.part"), None)  # noqa: E731
    copies.paused(task, lambda: part() is not None and part().stat().st_size > 4 * MIB)
    assert not (target / "big").exists()
    done = copies.go_on(task)
    assert (done.state, done.reason) == (State.SUCCEEDED, None)
    assert tree(target) == {"big": data}


def test_a_file_that_was_on_its_way_is_not_forgotten_by_an_attempt_that_has_just_begun(copies: Copies) -> None:
    data = os.urandom(40 * MIB)
    (copies.local("source") / "big").write_bytes(data)
    bucket = copies.bucket("bucket")
    task = copies.add("source", "bucket")
    reports = copies.harness.reports
    copies.paused(task, lambda: task.id in reports and reports[task.id].last[0] > 0)
    steps = copies.harness.reports[task.id].steps
    copies.paused(task, lambda: copies.harness.reports[task.id].steps == steps + 1)  # with one checkpoint of its own
    done = copies.go_on(task)
    assert (done.state, done.reason) == (State.SUCCEEDED, None)
    assert content(bucket) == {"big": data}


class Slow:
    """A bucket behind a proxy that counts parts."""

    def __init__(self, copies: Copies, bytes_per_second: float) -> None:
        self.proxy = Proxy(copies.server.endpoint, bytes_per_second)
        self.bucket = copies.bucket("bucket", endpoint=self.proxy.url)

    def sent_twice(self) -> list[str]:
        return [target for target, times in self.proxy.parts().items() if times > 1]


def test_an_upload_uses_its_parts_again_after_pauses(copies: Copies) -> None:
    source = copies.local("source")
    data = os.urandom(43 * MIB)
    fill(source, {"big": data})
    slow = Slow(copies, 40 * MIB)
    task = copies.add("source", "bucket")
    for parts in (2, 4):
        copies.paused(task, lambda parts=parts: len(slow.proxy.parts()) >= parts)
    done = copies.go_on(task)
    assert (done.state, done.reason) == (State.SUCCEEDED, None)
    assert content(slow.bucket) == {"big": data}
    assert len(slow.proxy.parts()) == 6
    assert sum(slow.proxy.parts().values()) <= 6 + 2  # one part for each stop
    assert list(slow.bucket.uploads("")) == []
    slow.proxy.close()


def test_an_upload_that_no_checkpoint_knows_is_found_again(copies: Copies) -> None:
    source = copies.local("source")
    data = os.urandom(17 * MIB)
    fill(source, {"big": data})
    slow = Slow(copies, 0)
    task = copies.add("source", "bucket")
    copies.paused(task, lambda: True)  # before anything began: what follows is by an attempt that was not the first
    upload = slow.bucket.begin("big")
    slow.bucket.send_part("big", upload, 1, data[: 8 * MIB])
    assert copies.go_on(task).state is State.SUCCEEDED
    assert sorted(slow.proxy.parts().values()) == [1, 1]
    assert content(slow.bucket) == {"big": data}
    slow.proxy.close()


def test_an_upload_that_was_completed_but_not_recorded_is_not_sent_again(copies: Copies) -> None:
    source = copies.local("source")
    data = os.urandom(17 * MIB)
    fill(source, {"big": data})
    slow = Slow(copies, 0)
    task = copies.add("source", "bucket", overwrite="always")
    copies.paused(task, lambda: True)
    slow.bucket.put("big", iter([data]))
    assert copies.go_on(task).state is State.SUCCEEDED
    assert not slow.proxy.parts()
    slow.proxy.close()


def test_a_source_that_changed_meanwhile_is_sent_anew(copies: Copies) -> None:
    source = copies.local("source")
    fill(source, {"big": os.urandom(30 * MIB)})
    slow = Slow(copies, 60 * MIB)
    task = copies.add("source", "bucket")
    copies.paused(task, lambda: len(slow.proxy.parts()) >= 2)
    data = os.urandom(30 * MIB)
    fill(source, {"big": data})
    done = copies.go_on(task)
    assert (done.state, done.reason) == (State.SUCCEEDED, None)
    assert content(slow.bucket) == {"big": data}
    assert list(slow.bucket.uploads("")) == []
    slow.proxy.close()


def test_a_store_that_is_gone_ends_the_attempt_for_now(copies: Copies) -> None:
    source = copies.local("source")
    fill(source, {f"file-{n:03}": b"x" for n in range(100)})
    slow = Slow(copies, 0)
    slow.proxy.close()
    ended = copies.run("source", "bucket")
    assert ended.state is State.WAITING_RETRY
    assert "does not answer" in (ended.reason or copies.log(ended))


def test_keys_are_nowhere_in_what_is_stored_or_said(copies: Copies) -> None:
    source = copies.local("source")
    fill(source, {"file": b"x"})
    copies.bucket("bucket", secret_access_key=f"{SECRET_KEY}-wrong")
    ended = copies.run("source", "bucket")
    assert ended.state is State.FAILED
    stored = b"".join(p.read_bytes() for p in copies.harness.folder.rglob("*") if p.is_file())
    for text in (stored, copies.log(ended).encode(), (ended.reason or "").encode(), repr(copies.rows).encode()):
        for key in (ACCESS_KEY, SECRET_KEY, "Signature="):
            assert key.encode() not in text


def test_progress_counts_files_and_bytes(copies: Copies) -> None:
    source, target = copies.local("source"), copies.local("target")
    fill(source, {f"{n % 10}/{n}": b"x" * n for n in range(1500)})
    done = copies.run("source", "target")
    assert done.state is State.SUCCEEDED
    assert len(tree(target)) == 1500
    assert copies.harness.reports[done.id].last == (sum(range(1500)) + 1500,) * 2  # bytes and files
    assert not list(target.rglob("*.part"))
