"""dag-pb nodes: links first, then data, in the one canonical form.

::

    PBNode = (12 <len> PBLink)* [0a <len> data]
    PBLink = 0a <len> CID  [12 <len> name]  [18 varint(Tsize)]

Source: https://ipld.io/specs/codecs/dag-pb/spec/. We always write name and Tsize, as the Go tools do. ``decode_node``
is strict: fields in this order, no unknown ones, shortest varints, nothing behind the end. Absent names and
Tsizes are read as ``b""`` and 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from common.content import cid as cids
from common.content import varint
from common.content.faults import BadBlock, BadCid, BadVarint
from common.content.varint import Buffer

_LINKS = 0x12
_DATA = 0x0A
_HASH = 0x0A
_NAME = 0x12
_TSIZE = 0x18


class Link(NamedTuple):
    """A link of a node: name in UTF-8 bytes, ``tsize`` in bytes as the profile defines it."""

    cid: bytes
    name: bytes
    tsize: int


class Node(NamedTuple):
    """A decoded node; ``data`` is None when the field is absent."""

    links: tuple[Link, ...]
    data: bytes | None


_number = varint.encode


def encode_link(cid: bytes, name: bytes, tsize: int) -> bytes:
    """Return the field of one link, its tag and length included."""
    body = b"\x0a" + _number(len(cid)) + cid + b"\x12" + _number(len(name)) + name + b"\x18" + _number(tsize)
    return b"\x12" + _number(len(body)) + body


def encode_data(data: bytes) -> bytes:
    """Return the data field, its tag and length included."""
    return b"\x0a" + _number(len(data)) + data


def encode_node(links: Iterable[Link | tuple[bytes, bytes, int]], data: bytes | None) -> bytes:
    """Return the block of a node; links stay in the order given."""
    fields = [encode_link(*link) for link in links]
    if data is not None:
        fields.append(encode_data(data))
    return b"".join(fields)


def decode_node(block: Buffer) -> Node:
    """Return the links and data of a dag-pb block.

    Raises:
        BadBlock: not canonical dag-pb; the message has the offset.
    """
    links: list[Link] = []
    data: bytes | None = None
    at, end = 0, len(block)
    try:
        while at < end:
            tag = block[at]
            if data is not None:
                raise BadBlock(f"dag-pb: a field after the data, at offset {at}")
            length, start = varint.decode(block, at + 1, end)
            stop = start + length
            if stop > end:
                raise BadBlock(f"dag-pb: the field at offset {at} has {length} bytes, {end - start} are left")
            if tag == _LINKS:
                links.append(_decode_link(block, start, stop))
            elif tag == _DATA:
                data = bytes(block[start:stop])
            else:
                raise BadBlock(f"dag-pb: unknown field tag 0x{tag:02x} at offset {at}")
            at = stop
    except (BadVarint, BadCid) as error:
        raise BadBlock(f"dag-pb: {error}") from error
    return Node(tuple(links), data)


def _decode_link(block: Buffer, start: int, stop: int) -> Link:
    cid, name, tsize = b"", b"", 0
    at, last = start, 0
    while at < stop:
        tag = block[at]
        order = {_HASH: 1, _NAME: 2, _TSIZE: 3}.get(tag, 0)
        if order <= last:
            raise BadBlock(f"dag-pb: field tag 0x{tag:02x} at offset {at} is unknown, twice or out of order")
        last = order
        value, following = varint.decode(block, at + 1, stop)
        if tag == _TSIZE:
            tsize, at = value, following
            continue
        at = following + value
        if at > stop:
            raise BadBlock(f"dag-pb: the link field at offset {following} has {value} bytes, {stop - following} are left")
        if tag == _NAME:
            name = bytes(block[following:at])
        else:
            parts, cid_end = cids.split(block, following, at)
            if cid_end != at:
                raise BadBlock(f"dag-pb: the CID at offset {following} is not the whole field")
            cid = parts.cid
    if not cid:
        raise BadBlock(f"dag-pb: the link at offset {start} has no CID")
    return Link(cid, name, tsize)
