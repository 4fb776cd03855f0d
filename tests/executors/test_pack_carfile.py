"""The partial CAR comes to the disk whole, in whatever pieces and however the file system takes it."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from executors.packing.carfile import PAGE, CarFile


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "car", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    yield descriptor
    os.close(descriptor)


def write(descriptor: int, data: bytes, start: int, chance: random.Random) -> None:
    """Write ``data`` from ``start`` on, in batches of any length, each pair of them in the wrong order."""
    car, at, waiting = CarFile(descriptor, start), start, []
    while at < len(data):
        length = min(chance.choice([1, 100, PAGE - 1, PAGE, 3 * PAGE, 50_001]), len(data) - at)
        buffer, begin = memoryview(mmap.mmap(-1, length + PAGE)), at % PAGE
        buffer[begin : begin + length] = data[at : at + length]
        waiting.append((car.join(buffer, begin, begin + length), at - begin))
        at += length
        if len(waiting) == 2 or at == len(data):
            for pages, offset in reversed(waiting):
                car.write(pages, offset)
            waiting.clear()
    car.finish(len(data))


def content(descriptor: int) -> bytes:
    return os.pread(descriptor, 1 << 22, 0)


@pytest.mark.parametrize("start", [0, 1, PAGE, 3 * PAGE + 17])
def test_batches_of_any_length_make_one_file_from_wherever_an_earlier_attempt_has_come(opened: int, start: int) -> None:
    chance = random.Random(start)
    data = chance.randbytes(400_003)
    os.pwrite(opened, data[:start], 0)
    write(opened, data, start, chance)
    assert content(opened) == data
    assert not fcntl.fcntl(opened, fcntl.F_GETFL) & os.O_DIRECT


def test_a_file_system_that_refuses_direct_writes_gets_the_same_bytes(opened: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = os.pwrite

    def refusing(descriptor: int, data: memoryview, offset: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return plain(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", refusing)
    data = random.Random(1).randbytes(200_000)
    write(opened, data, 0, random.Random(2))
    assert content(opened) == data
