"""The kernels, each as itself, against hashlib and the portable one."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from common.content import kernel
from common.content.faults import KernelUnavailable
from common.content.kernel import SLAB_PAYLOAD, Kernel, jit, native, selftest, shani_ir
from common.content.kernel.portable import PortableKernel, tree_root

HOST = jit.host()
SUPPORTED = [tier.name for tier in native.LADDER if HOST is not None and tier.supported(HOST)]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(scope="module", params=kernel.TIERS)
def each(request: pytest.FixtureRequest, cache_dir: Path) -> Kernel:
    """Every kernel that this machine can run."""
    if request.param != "portable" and request.param not in SUPPORTED:
        pytest.skip(f"this machine cannot run {request.param}")
    return kernel.load(cache_dir, tier=request.param, compile=True)


def noise(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def test_the_known_answer_of_the_self_test_is_that_of_the_portable_kernel() -> None:
    assert tree_root(selftest.slab()) == selftest.SLAB_ROOT
    assert selftest.passes(PortableKernel())


def test_roots_of_slabs_are_those_of_the_portable_kernel(each: Kernel) -> None:
    data = noise(3 * SLAB_PAYLOAD + 77)
    data[77 : 77 + SLAB_PAYLOAD] = 255
    data[77 + SLAB_PAYLOAD : 77 + 2 * SLAB_PAYLOAD : 3] = 0
    wanted = b"".join(tree_root(data[77 + n * SLAB_PAYLOAD : 77 + (n + 1) * SLAB_PAYLOAD]) for n in range(3))
    assert each.slab_roots(data, 77, 3) == wanted
    assert each.slab_roots(data.tobytes(), 77 + SLAB_PAYLOAD, 1) == wanted[32:64]
    assert each.slab_roots(data, 0, 0) == b""


@pytest.mark.skipif("shani" not in SUPPORTED, reason="this machine has no SHA instructions")
@pytest.mark.parametrize("streams", [2, 4])
def test_sha_instructions_give_the_same_with_two_and_four_messages_interleaved(streams: int) -> None:
    assert HOST is not None
    (tier,) = (tier for tier in native.LADDER if tier.name == "shani")
    tier = replace(tier, ir=lambda _: shani_ir.module(streams))
    code = tier.code(HOST, None, compile=True)
    assert code is not None
    data = noise(2 * SLAB_PAYLOAD, streams)
    wanted = tree_root(data[:SLAB_PAYLOAD]) + tree_root(data[SLAB_PAYLOAD:])
    assert tier.link(HOST, code, "").slab_roots(data, 0, 2) == wanted


@pytest.mark.parametrize("most", [1, 56, 64, 65, 130, 40_000])
def test_every_number_of_leaves_from_0_to_33_of_uneven_lengths_is_hashed(each: Kernel, most: int) -> None:
    rng = np.random.default_rng(most)
    for count in range(34):
        lengths = rng.integers(0, most, count)
        check_slots(each, lengths.tolist())


def test_lengths_around_the_borders_of_blocks_are_hashed(each: Kernel) -> None:
    check_slots(each, list(range(200)))
    check_slots(each, [1 << 20, *range(40), 1 << 20])


def check_slots(each: Kernel, lengths: list[int]) -> None:
    """Lay slots out with a hole before each; only the holes may change."""
    holes, offsets, at = [], [], 3
    for length in lengths:
        holes.append(at)
        offsets.append(at + 32)
        at += 32 + length
    data = noise(at + 5, len(lengths))
    wanted = data.copy()
    for hole, offset, length in zip(holes, offsets, lengths, strict=True):
        digest = sha256(data[offset : offset + length].tobytes()).digest()
        wanted[hole : hole + 32] = np.frombuffer(digest, np.uint8)
    each.hash_slots(data, offsets, lengths, holes)
    assert np.array_equal(data, wanted)


@pytest.mark.parametrize(
    ("offsets", "lengths", "holes"),
    [([0], [101], [0]), ([-1], [5], [0]), ([0], [-1], [0]), ([0], [5], [69]), ([0], [5], [-1]), ([0, 1], [5], [0])],
)
def test_places_outside_the_buffer_are_refused(
    each: Kernel, offsets: list[int], lengths: list[int], holes: list[int]
) -> None:
    with pytest.raises(ValueError, match=r"outside the buffer|as many"):
        each.hash_slots(bytearray(100), offsets, lengths, holes)
    with pytest.raises(ValueError, match="do not lie in a buffer"):
        each.slab_roots(bytearray(SLAB_PAYLOAD), 1, 1)


def test_a_buffer_that_cannot_be_written_is_refused(each: Kernel) -> None:
    with pytest.raises((ValueError, TypeError)):
        each.hash_slots(bytes(100), [32], [5], [0])


OVER_READ = """
import ctypes, mmap, sys
from pathlib import Path
from common.content import kernel
libc = ctypes.CDLL(None, use_errno=True)
page, size = mmap.PAGESIZE, kernel.SLAB_PAYLOAD // mmap.PAGESIZE * mmap.PAGESIZE + mmap.PAGESIZE
memory = mmap.mmap(-1, size + page)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
assert libc.mprotect(ctypes.c_void_p(address + size), ctypes.c_size_t(page), 0) == 0
view = memoryview(memory)[:size]
each = kernel.load(Path(sys.argv[1]), tier=sys.argv[2])
each.slab_roots(view, size - kernel.SLAB_PAYLOAD, 1)
for length in range(0, 130):
    each.hash_slots(view, [size - length] * 16, [length] * 16, range(0, 512, 32))
print("read nothing behind the end")
"""


def test_nothing_behind_the_buffer_is_read(each: Kernel, cache_dir: Path) -> None:
    """The buffer ends where a page begins that may not be touched."""
    command = [sys.executable, "-c", OVER_READ, str(cache_dir), each.description.tier]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], timeout=60)
    assert (ended.returncode, ended.stdout.strip()) == (0, "read nothing behind the end"), ended.stderr


def test_several_threads_may_use_one_kernel(each: Kernel) -> None:
    data = noise(2 * SLAB_PAYLOAD)
    wanted = tree_root(data[:SLAB_PAYLOAD]), tree_root(data[SLAB_PAYLOAD:])
    found: dict[int, list[bytes]] = {0: [], 1: []}

    def work(number: int) -> None:
        for _ in range(5):
            found[number].append(each.slab_roots(data, number * SLAB_PAYLOAD, 1))

    threads = [threading.Thread(target=work, args=(number,)) for number in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: [wanted[0]] * 5, 1: [wanted[1]] * 5}


@pytest.mark.parametrize("tier", SUPPORTED)
def test_a_native_kernel_lets_other_threads_run_while_it_works(cache_dir: Path, tier: str) -> None:
    each = kernel.load(cache_dir, tier=tier, compile=True)
    data = np.zeros(40 * SLAB_PAYLOAD, np.uint8)
    started, ended = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        each.slab_roots(data, 0, 40)
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait(10)
    turns = 0
    while not ended.wait(0.001):
        turns += 1
    thread.join()
    assert turns > 1


# ---- the ladder and the cache

needs_native = pytest.mark.skipif(not SUPPORTED, reason="this machine runs only the portable kernel")


@pytest.fixture
def compiled(tmp_path: Path) -> Iterator[Path]:
    """A folder with the cheapest native kernel compiled."""
    folder = tmp_path / "cache"
    tier = "shani" if "shani" in SUPPORTED else SUPPORTED[0]
    assert kernel.compile(folder, tier=tier).tier == tier
    yield folder


def tier_of(folder: Path) -> str:
    (file,) = folder.iterdir()
    return file.name.split("-")[0]


@needs_native
def test_the_fastest_kernel_is_taken_and_says_so(cache_dir: Path) -> None:
    made = kernel.load(cache_dir, compile=True)
    assert made.description.tier == SUPPORTED[0]
    assert kernel.describe(made).startswith(f"{SUPPORTED[0]} kernel, leaves by ")


@needs_native
def test_loading_never_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise AssertionError("compiled")

    monkeypatch.setattr(jit, "compile_object", refuse)
    made = kernel.load(tmp_path)
    assert made.description.tier == "portable"
    assert f"{SUPPORTED[0]}: not compiled yet" in made.description.reason
    assert kernel.load().description.tier == "portable"


@needs_native
def test_what_was_compiled_is_loaded_from_the_cache(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "compile_object", lambda *_: pytest.fail("compiled again"))
    tier = tier_of(compiled)
    assert kernel.load(compiled, tier=tier).description.tier == tier
    assert kernel.load(compiled, tier=tier, compile=True).description.tier == tier
    (file,) = compiled.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert compiled.stat().st_mode & 0o777 == 0o700


@needs_native
def test_the_kernel_of_the_installation_is_taken_and_kept(
    compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "INSTALLED", compiled)
    monkeypatch.setattr(jit, "compile_object", lambda *_: pytest.fail("compiled again"))
    tier, folder = tier_of(compiled), tmp_path / "kernels"
    assert kernel.load(folder, tier=tier, compile=True).description.tier == tier
    assert [file.read_bytes() for file in folder.iterdir()] == [file.read_bytes() for file in compiled.iterdir()]


@needs_native
@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_damaged_file_is_not_used_and_compiled_again(compiled: Path, at: int) -> None:
    (file,) = compiled.iterdir()
    good = file.read_bytes()
    data = bytearray(good)
    data[at] ^= 1
    file.write_bytes(data)
    tier = tier_of(compiled)
    with pytest.raises(KernelUnavailable, match="not compiled yet"):
        kernel.load(compiled, tier=tier)
    assert kernel.load(compiled, tier=tier, compile=True).description.tier == tier
    assert file.read_bytes() == good


@needs_native
@pytest.mark.parametrize("folder", [False, True])
def test_a_file_or_folder_that_others_may_write_to_is_not_trusted(compiled: Path, folder: bool) -> None:
    tier = tier_of(compiled)
    (compiled if folder else next(compiled.iterdir())).chmod(0o770)
    with pytest.raises(KernelUnavailable, match="not compiled yet"):
        kernel.load(compiled, tier=tier)


@needs_native
def test_a_kernel_that_computes_nonsense_is_not_used(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "SLAB_ROOT", bytes(32))
    made = kernel.load(compiled)
    assert made.description.tier == "portable"
    assert f"{tier_of(compiled)}: its self-test failed" in made.description.reason


def test_a_machine_without_llvmlite_uses_the_portable_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "host", lambda: None)
    made = kernel.load()
    assert made.description.tier == "portable"
    assert "llvmlite" in kernel.describe(made)
    with pytest.raises(KernelUnavailable, match="llvmlite"):
        kernel.load(tier="avx2")


def test_a_processor_without_the_instructions_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "host", lambda: jit.Host(cpu="x86-64", features=frozenset({"avx2", "bmi2"})))
    with pytest.raises(KernelUnavailable, match=r"shani: this processor has no sha, sse4\.1, ssse3"):
        kernel.load(tier="shani", compile=True)


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(KernelUnavailable, match="no kernel 'gpu'; there are: avx512, shani, avx2, portable"):
        kernel.load(tier="gpu")
