"""Content identifiers as bytes.

What we make is one of two shapes of 36 bytes, CIDv1 with SHA2-256::

    01 55 12 20 <32 bytes>     raw leaf
    01 70 12 20 <32 bytes>     dag-pb node

and stays bytes all the way; text is for APIs, logs and people. What others make is read with ``split`` (any CIDv1,
and CIDv0, which is the bare multihash ``12 20 <32 bytes>``). Source: https://github.com/multiformats/cid.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

import libipld

from common.content import varint
from common.content.faults import BadCid, BadVarint, WrongDigest
from common.content.varint import Buffer

RAW = 0x55
DAG_PB = 0x70
SHA2_256 = 0x12
IDENTITY = 0x00

RAW_PREFIX = b"\x01\x55\x12\x20"
DAG_PB_PREFIX = b"\x01\x70\x12\x20"
PREFIX_LENGTH = 4
DIGEST_LENGTH = 32
CID_LENGTH = PREFIX_LENGTH + DIGEST_LENGTH

MAX_DIGEST_LENGTH = 128
"""A multihash digest longer than this is refused: nothing in use is over 64 bytes."""

_V0_PREFIX = b"\x12\x20"
_V0_LENGTH = 34


class CidParts(NamedTuple):
    """A CID taken apart; ``cid`` holds the very bytes that were read."""

    cid: bytes
    version: int
    codec: int
    hash_code: int
    digest: bytes


def of_raw(data: Buffer) -> bytes:
    """Return the CID of a raw leaf with these bytes."""
    return RAW_PREFIX + sha256(data).digest()


def of_dag_pb(block: Buffer) -> bytes:
    """Return the CID of an encoded dag-pb node."""
    return DAG_PB_PREFIX + sha256(block).digest()


EMPTY_RAW = of_raw(b"")


def to_text(cid: bytes) -> str:
    """Return the canonical text: base32 for CIDv1, base58 for CIDv0, ``""`` for no CID."""
    if not cid:
        return ""
    if len(cid) != _V0_LENGTH or not cid.startswith(_V0_PREFIX):
        return str(libipld.encode_multibase("b", cid))
    return str(libipld.encode_cid(cid))


def from_text(text: str) -> bytes:
    """Return the bytes of a CID in any text form (multibase or base58 CIDv0); ``""`` gives ``b""``.

    Raises:
        BadCid: anything else.
    """
    if not text:
        return b""
    if len(text) > 512:
        raise BadCid(f"a text of {len(text)} characters is not a CID")
    try:
        version_0 = text.startswith("Qm") and len(text) == 46
        cid = bytes(libipld.decode_multibase("z" + text if version_0 else text)[1])
        parts, end = split(cid, 0)
    except (ValueError, BadCid) as error:
        raise BadCid(f"{text!r} is not a CID") from error
    if end != len(cid) or (parts.version == 0) != version_0:
        raise BadCid(f"{text!r} is not a CID")
    return cid


def split(buffer: Buffer, offset: int = 0, end: int | None = None) -> tuple[CidParts, int]:
    """Read the binary CID at ``offset``; return its parts and the offset behind it.

    Raises:
        BadCid: not a CID, one that does not end before ``end``, or a digest over ``MAX_DIGEST_LENGTH``.
    """
    limit = len(buffer) if end is None else min(end, len(buffer))
    if bytes(buffer[offset : min(offset + 2, limit)]) == _V0_PREFIX:
        stop = offset + _V0_LENGTH
        if stop > limit:
            raise BadCid(f"CID at offset {offset} is cut")
        cid = bytes(buffer[offset:stop])
        return CidParts(cid, 0, DAG_PB, SHA2_256, cid[2:]), stop
    try:
        version, at = varint.decode(buffer, offset, limit)
        codec, at = varint.decode(buffer, at, limit)
        hash_code, at = varint.decode(buffer, at, limit)
        length, at = varint.decode(buffer, at, limit)
    except BadVarint as error:
        raise BadCid(f"CID at offset {offset} cannot be read: {error}") from error
    if version != 1:
        raise BadCid(f"CID at offset {offset} has version {version}")
    if length > MAX_DIGEST_LENGTH:
        raise BadCid(f"CID at offset {offset} has a digest of {length} bytes")
    if at + length > limit:
        raise BadCid(f"CID at offset {offset} is cut")
    stop = at + length
    return CidParts(bytes(buffer[offset:stop]), 1, codec, hash_code, bytes(buffer[at:stop])), stop


def verify(cid: bytes, data: Buffer) -> None:
    """Check that ``data`` hashes to ``cid``.

    Raises:
        WrongDigest: it does not.
        BadCid: the hash is neither SHA2-256 nor identity.
    """
    if len(cid) == CID_LENGTH and cid.startswith((RAW_PREFIX, DAG_PB_PREFIX)):
        good = sha256(data).digest() == cid[PREFIX_LENGTH:]
    else:
        parts, _ = split(cid)
        if parts.hash_code == SHA2_256:
            good = sha256(data).digest() == parts.digest
        elif parts.hash_code == IDENTITY:
            good = bytes(data) == parts.digest
        else:
            raise BadCid(f"{to_text(cid)} uses hash 0x{parts.hash_code:x}, which cannot be checked here")
    if not good:
        raise WrongDigest(f"{len(data)} bytes do not hash to {to_text(cid)}")
