"""Frames: what goes in comes out, however the stream is cut; what is no frame ends the channel."""

import json
import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.channel import (
    HEAD,
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    Channel,
    ChannelClosed,
    Decoder,
    Frame,
    attempt_frame,
    attempt_of,
    encode,
)
from executors.launchers.base import Attempt, AttemptKey, Limits

values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=5)
headers = st.dictionaries(st.text(max_size=5), values, max_size=4)


@given(st.lists(st.tuples(headers, st.binary(max_size=300)), max_size=6), st.data())
def test_frames_survive_any_cut_of_the_stream(frames, data):
    stream = b"".join(encode(header, body) for header, body in frames)
    decoder, found, at = Decoder(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(min_value=1, max_value=len(stream) - at))
        found += decoder.feed(stream[at : at + size])
        at += size
    assert found == [Frame(header, body) for header, body in frames]


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_are_frames_or_the_end_of_the_channel(noise):
    with suppress(ChannelClosed):
        assert all(isinstance(frame.header, dict) for frame in Decoder().feed(noise))


@pytest.mark.parametrize(
    "noise",
    [HEAD.pack(MAX_HEADER_BYTES + 1, 0), HEAD.pack(2, MAX_BODY_BYTES + 1), HEAD.pack(2, 0) + b"[]", HEAD.pack(1, 0) + b"{"],
)
def test_what_is_no_frame_ends_the_channel(noise):
    with pytest.raises(ChannelClosed):
        list(Decoder().feed(noise))


def test_a_message_over_the_limit_is_not_sent():
    with pytest.raises(ValueError, match="too large"):
        encode({"t": "log"}, bytes(MAX_BODY_BYTES + 1))


def test_a_channel_blocks_even_when_its_socket_was_made_non_blocking():
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    channel = Channel(theirs)
    assert theirs.getblocking()
    assert channel.receive(wait=False) is None
    ours.sendall(encode({"a": 1}, b"x") + encode({"b": 2}) + encode({"c": 3})[:5])
    assert channel.receive(wait=True) == ({"a": 1}, b"x")
    assert channel.receive(wait=False) == ({"b": 2}, b"")
    assert channel.receive(wait=False) is None
    ours.close()
    with pytest.raises(ChannelClosed):
        channel.receive(wait=True)
    with pytest.raises(ChannelClosed):
        channel.send(encode({}) * 10)
    channel.close()


@given(st.none() | st.binary(max_size=100), st.dictionaries(st.text(max_size=5), values, max_size=3))
def test_an_attempt_arrives_as_it_was_sent(checkpoint, params):
    attempt = Attempt(
        key=AttemptKey(task_id=7, number=3),
        executor="pack",
        params=params,
        workdir="/data/work/7-3",
        checkpoint=checkpoint,
        cores=4,
        database_url="sqlite:////data/entrance.db",
        storages={"lake": {"key": "secret", "config": {"region": "here"}}},
        commands={"list": ["ls", "-l"]},
        limits=Limits(memory_bytes=1, cpu_seconds=2),
    )
    [frame] = Decoder().feed(attempt_frame(attempt))
    assert attempt_of(frame) == attempt
    assert "secret" not in json.dumps(frame.header)
    assert "secret" not in repr(attempt)
