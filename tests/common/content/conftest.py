"""Golden vectors, and the bytes that they speak of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from common.content import kernel
from common.content.kernel import Kernel

settings.register_profile("unhurried", deadline=None)  # machines that run tests also do other things
settings.load_profile("unhurried")

VECTORS = Path(__file__).parents[2] / "data" / "vectors"


@cache
def _load(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))


@cache
def _derived(power: int) -> bytes:
    out = bytearray()
    while len(out) < 1 << power:
        out += hashlib.sha512(bytes(out[-64:])).digest()
    return bytes(out)


def _content(rule: str, size: int, seed: str = "", text: str = "") -> bytes:
    if rule == "text":
        return text.encode()
    if rule == "zeros":
        return bytes(size)
    if rule == "mod251":
        period = bytes((i * 31 + 7) % 251 for i in range(251))
        return (period * (size // 251 + 1))[:size]
    assert rule == "sha256ctr"
    return b"".join(hashlib.sha256(f"{seed}:{n}".encode()).digest() for n in range(-(-size // 32)))[:size]


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Any]:
    """vectors("commp") -> the parsed file."""
    return _load


@pytest.fixture(scope="session")
def derived_buffer() -> Callable[[int], bytes]:
    """The generator of commp.json: a chain of SHA-512, cut to size."""
    return lambda size: _derived(max(size, 1).bit_length())[:size]


@pytest.fixture(scope="session")
def content() -> Callable[..., bytes]:
    """The content rules of pack.json: content(rule, size, seed)."""
    return _content


@pytest.fixture(scope="session")
def hasher(tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    """The fastest kernel of this machine, compiled for this run."""
    return kernel.load(tmp_path_factory.mktemp("kernel-cache"), compile=True)
