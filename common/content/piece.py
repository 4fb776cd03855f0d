"""Piece commitments (CommP): the root of a binary tree over the FR32 form of a payload.

::

    payload      127 bytes ...        zeros up to 127 * 2^k bytes
    FR32         4 leaves of 32 bytes each
    tree         parent = SHA-256(left | right), top two bits of the last byte cleared
    piece size   128 * 2^k bytes: every power of two of at least 128
    lift         root' = parent(root, zero commitment of the same height), as often as wanted

The stream is cut into slabs of 1,040,384 bytes, 1 MiB of tree each, which can be hashed in any order on any thread
(``SlabTree``). What is left at the end is filled up with zeros. Source: section 6 of the Singularity contract; 65 bytes
to 64 GiB padded, as in the Filecoin proofs.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Literal

import numpy as np

from common.content import piececid
from common.content.estimate import next_power_of_two
from common.content.faults import BadCheckpoint, BadSize, PieceTooLarge, PieceTooSmall
from common.content.kernel import (
    NODE_LENGTH,
    QUAD_PAYLOAD,
    SLAB_HEIGHT,
    SLAB_PAYLOAD,
    Buffer,
    Kernel,
)
from common.content.kernel.base import as_view
from common.content.kernel.portable import tree_root

MIN_PAYLOAD = 65
MIN_PIECE_SIZE = 128
MAX_PIECE_SIZE = piececid.MAX_PIECE_SIZE
MAX_PAYLOAD = MAX_PIECE_SIZE // 128 * 127
SLAB_PIECE_SIZE = NODE_LENGTH << SLAB_HEIGHT

_STATE_MAGIC = b"slabs1"
_STATE_COUNT = 8
_STATE_CHECK = 4


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A commitment: 32-byte root, padded piece size and bytes of payload."""

    root: bytes
    piece_size: int
    payload_size: int

    @property
    def cid_v1(self) -> bytes:
        """The piece CID that the chain and Singularity use."""
        return piececid.encode_v1(self.root)

    @property
    def cid_v2(self) -> bytes:
        """The piece CID that also tells the size of the payload (FRC-0069)."""
        return piececid.encode_v2(self.root, self.piece_size, self.payload_size)


def parent(left: bytes, right: bytes) -> bytes:
    """Return the node above two nodes."""
    digest = sha256(left + right).digest()
    return digest[:-1] + bytes([digest[-1] & 0x3F])


@cache
def zero_commitment(height: int) -> bytes:
    """Return the root of a tree of 2^height zero leaves."""
    if height == 0:
        return bytes(NODE_LENGTH)
    below = zero_commitment(height - 1)
    return parent(below, below)


def piece_size_of(payload_size: int) -> int:
    """Return the smallest padded piece size that holds the payload.

    Raises:
        PieceTooSmall, PieceTooLarge: under 65 bytes; over 64 GiB padded.
    """
    if payload_size < MIN_PAYLOAD:
        raise PieceTooSmall(f"{payload_size} bytes are too few for a piece, which takes at least {MIN_PAYLOAD}")
    if payload_size > MAX_PAYLOAD:
        raise PieceTooLarge(f"{payload_size} bytes do not fit the largest piece, of {MAX_PAYLOAD} unpadded bytes")
    return 128 * next_power_of_two(-(-payload_size // QUAD_PAYLOAD))


def lift(root: bytes, from_size: int, to_size: int) -> bytes:
    """Return the commitment of the same payload in a larger piece; both sizes are powers of two.

    Raises:
        BadSize: a size that is no piece size, or one that shrinks.
    """
    for size in (from_size, to_size):
        if size < MIN_PIECE_SIZE or size & (size - 1):
            raise BadSize(f"a piece size of {size} is not a power of two of at least {MIN_PIECE_SIZE}")
    if to_size > MAX_PIECE_SIZE:
        raise PieceTooLarge(f"a piece of {to_size} bytes is larger than {MAX_PIECE_SIZE}")
    if to_size < from_size:
        raise BadSize(f"a piece of {from_size} bytes cannot become one of {to_size}")
    height = (from_size // NODE_LENGTH).bit_length() - 1
    while from_size < to_size:
        root = parent(root, zero_commitment(height))
        from_size, height = 2 * from_size, height + 1
    return root


def small_root(payload: Buffer) -> bytes:
    """Return the root of the smallest piece that holds at most one slab of payload."""
    capacity = piece_size_of(len(payload)) // 128 * 127
    filled = np.zeros(capacity, np.uint8)
    filled[: len(payload)] = np.frombuffer(payload, np.uint8)
    return tree_root(filled)


class SlabTree:
    """Collects slab roots in any order and joins them; can be saved and loaded at any slab border.

    Holds 32 bytes per slab that is not folded into the saved part (33 KiB per GiB of payload), and one root per set
    bit of the number of folded slabs: a binary counter, 17 roots for 64 GiB.
    """

    def __init__(self) -> None:
        self._folded = 0
        self._stack: list[bytes] = []  # one root per set bit of _folded, highest first
        self._roots: dict[int, bytes] = {}
        self._complete = 0

    @property
    def complete(self) -> int:
        """How many slabs are there from the start of the piece without a gap."""
        return self._complete

    def add(self, first: int, roots: bytes) -> None:
        """Take in the roots (32 bytes each) of slabs ``first``, ``first + 1``, ...

        Raises:
            ValueError: a slab comes twice; that is a bug of the caller.
        """
        for n in range(len(roots) // NODE_LENGTH):
            slab = first + n
            if slab < self._folded or slab in self._roots:
                raise ValueError(f"slab {slab} comes twice")
            self._roots[slab] = roots[n * NODE_LENGTH : (n + 1) * NODE_LENGTH]
        while self._complete in self._roots:
            self._complete += 1

    def save(self, slabs: int) -> bytes:
        """Return the state at ``slabs`` slabs (at most ``complete``): under 1 KiB. States only move forward.

        The bytes of the payload from ``slabs * SLAB_PAYLOAD`` on are not part of it; whoever resumes reads them again.
        """
        if not self._folded <= slabs <= self._complete:
            raise ValueError(f"cannot save at {slabs} slabs between {self._folded} and {self._complete}")
        self._fold(slabs)
        body = _STATE_MAGIC + slabs.to_bytes(_STATE_COUNT, "little") + b"".join(self._stack)
        return body + zlib.crc32(body).to_bytes(_STATE_CHECK, "little")

    @classmethod
    def load(cls, state: bytes) -> SlabTree:
        """Return the tree as it was saved.

        Raises:
            BadCheckpoint: not a state that ``save`` has made.
        """
        body, check = state[:-_STATE_CHECK], state[-_STATE_CHECK:]
        head = len(_STATE_MAGIC) + _STATE_COUNT
        if not body.startswith(_STATE_MAGIC) or zlib.crc32(body).to_bytes(_STATE_CHECK, "little") != check:
            raise BadCheckpoint()
        slabs = int.from_bytes(body[len(_STATE_MAGIC) : head], "little")
        roots = [body[at : at + NODE_LENGTH] for at in range(head, len(body), NODE_LENGTH)]
        if len(roots) != slabs.bit_count() or slabs * SLAB_PIECE_SIZE > MAX_PIECE_SIZE:
            raise BadCheckpoint()
        tree = cls()
        tree._folded = tree._complete = slabs
        tree._stack = roots
        return tree

    def root(self) -> tuple[bytes, int]:
        """Return the root over all slabs, filled up with zero slabs to a power of two, and its piece size.

        Raises:
            ValueError: no slab yet, or one is missing in between.
        """
        if self._complete == 0 or self._complete - self._folded != len(self._roots):
            raise ValueError("there are no slabs, or one is missing")
        self._fold(self._complete)
        bits = [bit for bit in range(self._folded.bit_length()) if self._folded >> bit & 1]
        roots = self._stack[::-1]  # lowest first, as the bits
        height, node = bits[0], roots[0]
        for bit, left in zip(bits[1:], roots[1:], strict=True):
            while height < bit:
                node, height = parent(node, zero_commitment(SLAB_HEIGHT + height)), height + 1
            node, height = parent(left, node), height + 1
        return node, SLAB_PIECE_SIZE << height

    def _fold(self, slabs: int) -> None:
        while self._folded < slabs:
            node = self._roots.pop(self._folded)
            bit = 0
            while self._folded >> bit & 1:
                node = parent(self._stack.pop(), node)
                bit += 1
            self._stack.append(node)
            self._folded += 1


def finish(slabs: SlabTree, tail: Buffer, kernel: Kernel, min_piece_size: int = MIN_PIECE_SIZE) -> Piece:
    """Return the commitment over all slabs and the bytes after them, less than a slab; lifted to ``min_piece_size``.

    The tail becomes the last slab of the tree, so this is to be called once.

    Raises:
        PieceTooSmall, PieceTooLarge: under 65 bytes in all; over 64 GiB padded.
    """
    if len(tail) >= SLAB_PAYLOAD:
        raise ValueError(f"a tail of {len(tail)} bytes is a slab or more")
    size = slabs.complete * SLAB_PAYLOAD + len(tail)
    natural = piece_size_of(size)
    if natural < SLAB_PIECE_SIZE:
        root = small_root(tail)
    else:
        if len(tail):
            last = np.zeros(SLAB_PAYLOAD, np.uint8)
            last[: len(tail)] = np.frombuffer(tail, np.uint8)
            slabs.add(slabs.complete, kernel.slab_roots(last, 0, 1))
        root, natural = slabs.root()
    wanted = max(natural, min_piece_size)
    return Piece(root=lift(root, natural, wanted), piece_size=wanted, payload_size=size)


class PieceHasher:
    """The commitment of a stream: ``update`` as often as there are bytes, then ``finish`` once.

    Holds one slab. ``slabs`` is the tree so far, which can be saved at any time: at ``slabs.complete`` slabs.
    """

    def __init__(self, kernel: Kernel, slabs: SlabTree | None = None) -> None:
        self._kernel = kernel
        self.slabs = slabs or SlabTree()
        self._next = self.slabs.complete
        self._seam = bytearray(SLAB_PAYLOAD)
        self._filled = 0

    @property
    def payload_size(self) -> int:
        """Bytes taken in so far, those of a loaded tree included."""
        return self._next * SLAB_PAYLOAD + self._filled

    def update(self, data: Buffer) -> None:
        """Take in the next bytes."""
        view = as_view(data)
        at = 0
        if self._filled:
            at = min(SLAB_PAYLOAD - self._filled, len(view))
            self._seam[self._filled : self._filled + at] = view[:at]
            self._filled += at
            if self._filled == SLAB_PAYLOAD:
                self._add(self._seam, 0, 1)
                self._filled = 0
        whole = (len(view) - at) // SLAB_PAYLOAD
        if whole:
            self._add(view, at, whole)
            at += whole * SLAB_PAYLOAD
        if at < len(view):
            self._filled = len(view) - at
            self._seam[: self._filled] = view[at:]

    def finish(self, min_piece_size: int = MIN_PIECE_SIZE) -> Piece:
        """Return the commitment, lifted to ``min_piece_size`` padded bytes when it is smaller.

        Raises:
            PieceTooSmall, PieceTooLarge: under 65 bytes; over 64 GiB padded.
        """
        return finish(self.slabs, memoryview(self._seam)[: self._filled], self._kernel, min_piece_size)

    def _add(self, buffer: Buffer, offset: int, count: int) -> None:
        self.slabs.add(self._next, self._kernel.slab_roots(buffer, offset, count))
        self._next += count


def commitment(payload: Buffer, kernel: Kernel, min_piece_size: int = MIN_PIECE_SIZE) -> Piece:
    """Return the commitment of bytes that are all there; see ``PieceHasher.finish``."""
    hasher = PieceHasher(kernel)
    hasher.update(payload)
    return hasher.finish(min_piece_size)


@dataclass(frozen=True, kw_only=True)
class Padding:
    """What becomes of a CAR when its piece is larger than it needs. All in bytes."""

    piece_size: int
    """Padded piece size: the natural one, or the minimum of the preparation."""
    file_size: int
    """Length that is recorded and served."""
    appended: int
    """Zeros to be written at the end of the CAR file."""
    virtual: int
    """Zeros that are only served (``minPieceSizePadding``)."""


def padding_rule(
    car_size: int, *, kind: Literal["data", "dag"], inline: bool, min_piece_size: int, ranges_size: int = 0
) -> Padding:
    """Return how a CAR of ``car_size`` bytes is padded (section 5.6 of the Singularity contract).

    ``ranges_size`` is the sum of the lengths of a data CAR's ranges. The rule compares with the length of the CAR, not
    of its FR32 form, so a CAR just under a power of two counts as needing zeros; that is copied on purpose.

    Raises:
        PieceTooSmall, PieceTooLarge: under 65 bytes; over 64 GiB padded.
    """
    piece_size = max(piece_size_of(car_size), min_piece_size)
    needed = piece_size > next_power_of_two(car_size)
    zeros = piece_size // 128 * 127 - car_size if needed else 0
    if inline:
        return Padding(piece_size=piece_size, file_size=car_size + zeros, appended=0, virtual=zeros)
    if kind == "data" and ranges_size >= min_piece_size // 2:
        zeros = 0
    return Padding(piece_size=piece_size, file_size=car_size + zeros, appended=zeros, virtual=0)
