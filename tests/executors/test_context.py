"""What a task says, as frames on its channel: how often, in which order, and what happens when nobody listens."""

import socket
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from common.errors import ExecutorError, MayPass
from executors import registry, runner
from executors.base import StopRequested
from executors.channel import Channel, Decoder, encode
from executors.context import MAX_STATE_BYTES, ChannelContext
from executors.launchers.base import Attempt, AttemptKey, Ending


class Peer:
    """The service's side of a channel, read and written by hand."""

    def __init__(self):
        self.sock, self.theirs = socket.socketpair()
        self._decoder = Decoder()
        self._frames = []

    def frames(self):
        """Return all frames so far."""
        self.sock.setblocking(False)
        try:
            while data := self.sock.recv(1 << 20):
                self._frames += self._decoder.feed(data)
        except BlockingIOError:
            pass
        return self._frames

    def kinds(self):
        return [frame.header["t"] for frame in self.frames()]

    def say(self, **header):
        self.sock.setblocking(True)
        self.sock.sendall(encode(header))


@pytest.fixture
def peer():
    peer = Peer()
    yield peer
    peer.sock.close()
    peer.theirs.close()


def an_attempt(folder, params=None, **more):
    key, loaded = AttemptKey(task_id=1, number=1), registry.load_params(registry.get("echo"), params or {})
    return Attempt(key=key, executor="echo", params=loaded, workdir=str(folder / "work"), **more)


@pytest.fixture
def ctx(peer, tmp_path):
    return ChannelContext(an_attempt(tmp_path), {}, Channel(peer.theirs))


def test_steps_are_sent_at_most_twenty_times_a_second(ctx, peer):
    began = time.monotonic()
    number = 0
    while time.monotonic() - began < 0.5:
        number += 1
        ctx.step(number, 1_000_000, str(number).encode())
    assert number > 1_000
    assert len(peer.frames()) <= 11
    ctx.finish(rows=True)
    last = peer.frames()[-1]
    assert (last.header["p"][0], last.body) == (number, str(number).encode())


def test_a_checkpoint_that_counts_rows_is_sent_at_once(ctx, peer, tmp_path):
    for number in range(5):
        ctx.rows("t", [(number,)], ["a"])
        ctx.step(number, 5, b"state")
    assert peer.kinds() == ["rows", "step"] * 5
    assert [frame.header["number"] for frame in peer.frames()[::2]] == [1, 2, 3, 4, 5]
    assert len(list((tmp_path / "work").iterdir())) == 5


def test_a_stop_while_rows_wait_for_room_sends_no_checkpoint_that_counts_them(ctx, peer):
    """Neither theirs, which would lose those that are not sent, nor the one before, which would count some of them."""
    for number in range(5):
        ctx.rows(f"t{number}", [(number,)], ["a"])
    ctx.step(1, 9, b"one")
    ctx.step(2, 9, b"two")  # waits for its turn
    for number in range(5):
        ctx.rows(f"t{number}", [(number,)], ["a"])
    peer.say(t="stop")
    with pytest.raises(StopRequested):
        ctx.step(3, 9, b"three")
    ctx.finish(rows=False)
    assert peer.kinds() == [*["rows"] * 5, "step", "step", *["rows"] * 3]
    assert [frame.body for frame in peer.frames() if frame.header["t"] == "step"] == [b"one", b"two"]


def test_rows_that_no_step_follows_ask_for_room_themselves(ctx, peer):
    """The service stores rows with a step; nothing would ever be merged if eight slices waited for one that cannot come."""
    ctx.step(1, 9, b"one")
    done = threading.Thread(target=lambda: [ctx.rows("t", [(n,)] * 10_000, ["a"]) for n in range(12)], daemon=True)
    done.start()
    while peer.kinds() != ["step", *["rows"] * 8, "step"]:
        time.sleep(0.005)
    assert (peer.frames()[-1].header["p"], peer.frames()[-1].header.get("state")) == ([1, 9, 0, 0, 0, 0], None)
    peer.say(t="merged", number=8)
    done.join(10)
    assert not done.is_alive()
    assert peer.kinds()[10:] == ["rows"] * 3


def test_a_checkpoint_waits_with_the_numbers_that_follow_it(ctx, peer):
    ctx.step(1, 9)
    ctx.step(2, 9, b"two")
    ctx.step(3, 9)
    ctx.finish(rows=False)
    assert [(f.header["p"][0], f.header.get("state"), f.body) for f in peer.frames()] == [(1, None, b""), (3, True, b"two")]


def test_no_line_is_sent_before_the_step_that_it_follows(ctx, peer):
    for number in range(2_000):
        ctx.log(f"line {number}")
        ctx.step(number, 2_000, str(number).encode())
    ctx.finish(rows=True)
    known = -1
    for frame in peer.frames():
        if frame.header["t"] == "log":
            last = int(frame.body.rsplit(b" ", 1)[1])
        else:
            known = int(frame.body)
            assert last == known
    assert known == 1_999


def test_lines_without_a_step_leave_in_blocks_and_with_the_end(ctx, peer):
    for number in range(3_000):
        ctx.log(f"line {number}")
    sent = b"".join(frame.body for frame in peer.frames())
    assert 0 < sent.count(b"\n") < 3_000
    ctx.finish(rows=False)
    blocks = [frame.body for frame in peer.frames()]
    assert b"".join(blocks).count(b"\n") == 3_000
    assert all(block.endswith(b"\n") and len(block) < 70_000 for block in blocks)


def test_rows_of_a_publication_are_sent_before_it_even_when_many_wait(ctx, peer):
    ctx._merged = -100  # far behind: ordinary rows would wait
    done = threading.Thread(target=ctx.publish, args=([("/a.part", "/a")], [("cars", ["id"], [(1,)])]), daemon=True)
    done.start()
    while peer.kinds() != ["rows", "publish"]:
        assert done.is_alive()
        time.sleep(0.005)
    peer.say(t="answer", n=1, value=None)
    done.join(5)
    assert not done.is_alive()


def test_answers_may_overtake_what_else_is_said(ctx, peer):
    peer.say(t="cores", cores=3)
    peer.say(t="answer", n=1, value=42)
    assert ctx.ids("files", 10) == 42
    assert ctx.cores == 3
    peer.say(t="answer", n=2, error="the store is away", may_pass=True)
    with pytest.raises(MayPass, match="the store is away"):
        ctx.own(["x"])
    peer.say(t="answer", n=3, error="no such table", may_pass=False)
    with pytest.raises(ExecutorError, match="no such table") as caught:
        ctx.ids("x", 1)
    assert not isinstance(caught.value, MayPass)


def test_stop_is_raised_at_the_next_step_after_it_is_sent(ctx, peer):
    ctx.step(1, 3)
    peer.say(t="stop")
    with pytest.raises(StopRequested):
        ctx.step(2, 3, b"two")
    ctx.finish(rows=False)
    assert peer.frames()[-1].body == b"two"


@pytest.mark.parametrize(
    "call",
    [
        lambda ctx: ctx.step(1, 2),
        lambda ctx: ctx.ids("files", 1),
        lambda ctx: [ctx.log("x" * 1_000) for _ in range(1_000)],
        lambda ctx: ctx.rows("t", [(1,)] * 10_001, ["a"]),
    ],
)
def test_a_task_whose_service_is_gone_stops(ctx, peer, call):
    peer.sock.close()
    with pytest.raises(StopRequested):
        call(ctx)


def test_what_makes_no_sense_is_refused(ctx):
    with pytest.raises(ValueError, match="checkpoint"):
        ctx.step(1, 2, bytes(MAX_STATE_BYTES + 1))
    with pytest.raises(ValueError, match="no level"):
        ctx.log("x", "DEBUG")
    with pytest.raises(ExecutorError, match="does not name the storage lake"):
        ctx.storage("lake")


def test_a_named_storage_is_opened_with_its_settings(peer, tmp_path):
    (tmp_path / "file").write_text("content")
    settings = {"disk": {"type": "local", "path": str(tmp_path), "config": {}, "client_config": {}}}
    ctx = ChannelContext(an_attempt(tmp_path, storages=settings), {}, Channel(peer.theirs))
    with ctx.storage("disk").open("file") as stream:
        assert stream.read() == b"content"


def test_the_work_folder_is_made_when_it_is_first_used(ctx, tmp_path):
    assert not (tmp_path / "work").exists()
    assert ctx.workdir == Path(tmp_path / "work")
    assert ctx.workdir.stat().st_mode & 0o777 == 0o700


def test_the_runner_returns_the_end_that_it_sent(peer, tmp_path):
    end = runner.run(an_attempt(tmp_path, params={"lines": 1}), Channel(peer.theirs))
    assert (end.ending, end.rows) == (Ending.SUCCEEDED, [["ok"]])
    assert peer.kinds()[-1] == "end"
    assert peer.frames()[-1].body == b'[["ok"]]'


def test_a_result_too_large_to_be_sent_fails_the_attempt(peer, tmp_path, monkeypatch):
    monkeypatch.setattr(registry.get("echo"), "run", lambda ctx: [["x" * (65 << 20)]], raising=False)
    end = runner.run(an_attempt(tmp_path), Channel(peer.theirs))
    assert (end.ending, end.reason) == (Ending.FAILED, "the result rows are too large")
    assert peer.frames()[-1].header["reason"] == end.reason


def test_a_full_disk_under_an_executors_own_database_may_pass(peer, tmp_path, monkeypatch):
    def fill(executor, ctx):
        database = sqlite3.connect(tmp_path / "scratch.sqlite")
        database.execute("PRAGMA max_page_count = 2")  # as a disk with room for two pages
        database.execute("CREATE TABLE rows (data)")
        database.execute("INSERT INTO rows VALUES (?)", (bytes(1 << 20),))

    monkeypatch.setattr(type(registry.get("echo")), "run", fill)
    end = runner.run(an_attempt(tmp_path), Channel(peer.theirs))
    assert (end.ending, end.reason, end.may_pass) == (Ending.FAILED, "no space left on the device", True)


def test_the_runner_ends_quietly_when_nobody_listens(peer, tmp_path):
    peer.sock.close()
    assert runner.run(an_attempt(tmp_path, params={"steps": 3}), Channel(peer.theirs)).ending is Ending.STOPPED
