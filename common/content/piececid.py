"""CIDs of pieces, in both versions.

::

    v1   01 81e203 9220 20 <32-byte root>                               fil-commitment-unsealed, sha2-256-trunc254-padded
    v2   01 55 9120 <len> varint(padding) | height | <32-byte root>     raw, multihash 0x1011

v2 also tells the size: ``height = log2(piece size / 32)`` and ``padding = piece size * 127 / 128 - payload size``.
Source: FRC-0069, https://github.com/filecoin-project/FIPs/blob/master/FRCs/frc-0069.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.content import cid as cids
from common.content import varint
from common.content.faults import BadCid, BadVarint

CODEC_V1 = 0xF101
HASH_V1 = 0x1012
HASH_V2 = 0x1011

ROOT_LENGTH = 32
MIN_HEIGHT = 2
"""A quad of 127 bytes is a tree of four leaves."""
MAX_HEIGHT = 58
"""Above it a piece size does not fit a signed 64-bit number."""
MAX_PIECE_SIZE = 64 << 30
"""Of the pieces that are made here: no sector of Filecoin is larger."""

_PREFIX_V1 = b"\x01\x81\xe2\x03\x92\x20\x20"
_PREFIX_V2 = b"\x01\x55\x91\x20"


@dataclass(frozen=True, kw_only=True)
class PieceCid:
    """What a piece CID says. Sizes in bytes; both are None for v1, which does not tell them."""

    version: int
    root: bytes
    piece_size: int | None = None
    payload_size: int | None = None

    def to_v1(self) -> bytes:
        """Return the v1 CID of the same commitment."""
        return encode_v1(self.root)


def encode_v1(root: bytes) -> bytes:
    """Return the v1 CID (39 bytes) of a commitment of 32 bytes."""
    _check_root(root)
    return _PREFIX_V1 + root


def encode_v2(root: bytes, piece_size: int, payload_size: int) -> bytes:
    """Return the v2 CID of a commitment over ``piece_size`` padded bytes that begin with the payload.

    Raises:
        BadCid: the piece size is not a power of two of at least 128, or the payload does not fit it.
    """
    _check_root(root)
    height = piece_size.bit_length() - 6
    if piece_size != 32 << max(height, 0) or not MIN_HEIGHT <= height <= MAX_HEIGHT:
        raise BadCid(f"a piece size of {piece_size} is not a power of two from 128 to 2^{MAX_HEIGHT + 5}")
    padding = piece_size // 128 * 127 - payload_size
    if padding < 0 or payload_size < 0:
        raise BadCid(f"{payload_size} bytes do not fit a piece of {piece_size}")
    digest = varint.encode(padding) + bytes([height]) + root
    return _PREFIX_V2 + varint.encode(len(digest)) + digest


def height_of(payload_size: int) -> int:
    """Return the height of the smallest tree that holds this many bytes: arithmetic, for any size."""
    quads = max(1, -(-payload_size // 127))
    return MIN_HEIGHT + (quads - 1).bit_length()


def decode(cid: bytes) -> PieceCid:
    """Return what a piece CID of either version says.

    Raises:
        BadCid: not the CID of a piece.
    """
    parts, end = cids.split(cid)
    if end != len(cid) or parts.version != 1:
        raise BadCid("this is not the CID of a piece")
    if parts.codec == CODEC_V1 and parts.hash_code == HASH_V1 and len(parts.digest) == ROOT_LENGTH:
        _check_root(parts.digest)
        return PieceCid(version=1, root=parts.digest)
    if parts.codec == cids.RAW and parts.hash_code == HASH_V2:
        return _decode_v2(parts.digest)
    raise BadCid("this is not the CID of a piece")


def parse(text: str) -> PieceCid:
    """Return what the text of a piece CID says.

    Raises:
        BadCid: not a CID, or not that of a piece.
    """
    return decode(cids.from_text(text))


def _decode_v2(digest: bytes) -> PieceCid:
    try:
        padding, at = varint.decode(digest)
    except BadVarint as error:
        raise BadCid(f"piece CID v2: {error}") from error
    if len(digest) - at != 1 + ROOT_LENGTH:
        raise BadCid(f"piece CID v2: a digest of {len(digest)} bytes")
    height = digest[at]
    if not MIN_HEIGHT <= height <= MAX_HEIGHT:
        raise BadCid(f"piece CID v2: a tree of height {height}")
    capacity = 127 << (height - MIN_HEIGHT)
    if padding > capacity:
        raise BadCid(f"piece CID v2: {padding} bytes of padding in a piece of {capacity}")
    root = digest[at + 1 :]
    _check_root(root)
    return PieceCid(version=2, root=root, piece_size=32 << height, payload_size=capacity - padding)


def _check_root(root: bytes) -> None:
    if len(root) != ROOT_LENGTH or root[-1] > 0x3F:
        raise BadCid("a piece commitment is 32 bytes, the top two bits of the last one zero")
