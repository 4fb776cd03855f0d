"""CARv1 files: a header with the roots, then one section per block, then perhaps zeros.

::

    3a a2 65 "roots" 81 d8 2a 58 25 00 <36-byte CID> 67 "version" 01        header, 59 bytes for one CIDv1 root
    varint(len(CID) + len(data)) | CID | data                              a section, as often as there are blocks
    00 00 00 ...                                                          zeros up to the wanted piece, if any

Readers stop at a section length of zero, where the padding begins. Lengths come from outside: every one is held
against a named limit before anything is read or allocated. Source: https://ipld.io/specs/transport/car/carv1/.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import libipld

from common.content import cid as cids
from common.content import varint
from common.content.faults import BadCar, BadCid, BadVarint, LimitExceeded, TruncatedCar
from common.content.varint import Buffer

HEADER_LENGTH = 59
"""Length of the header that ``header`` writes, its own length varint included."""
INDEX_SUFFIX = ".idx"
"""Of the index beside a CAR (``common.content.index``), behind the CAR's whole name."""

_HEADER_HEAD = b"\x3a\xa2\x65roots\x81\xd8\x2a\x58\x25\x00"
_HEADER_TAIL = b"\x67version\x01"
_READ_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a reader accepts, in bytes. The section limit is the default of go-car."""

    max_header: int = 1 << 20
    max_section: int = 8 << 20


DEFAULT_LIMITS = Limits()


class Section(NamedTuple):
    """One block in a CAR. ``offset`` is that of the length varint, ``data_offset`` that of the first data byte."""

    offset: int
    cid: bytes
    data_offset: int
    data: bytes

    @property
    def end(self) -> int:
        """Offset behind the section."""
        return self.data_offset + len(self.data)


def header(root: bytes) -> bytes:
    """Return the header for one root of 36 bytes.

    Raises:
        BadCid: the root has another length.
    """
    if len(root) != cids.CID_LENGTH:
        raise BadCid(f"a root of {len(root)} bytes, where CIDv1 with SHA2-256 has {cids.CID_LENGTH}")
    return _HEADER_HEAD + root + _HEADER_TAIL


def section_prefix(cid: bytes, data_length: int) -> bytes:
    """Return what stands before the data of a section: length varint and CID."""
    return varint.encode(len(cid) + data_length) + cid


def section_length(data_length: int, cid_length: int = cids.CID_LENGTH) -> int:
    """Return the length of a whole section."""
    body = cid_length + data_length
    return varint.size(body) + body


class CarWriter:
    """Writes a CAR to a stream, front to back; ``length`` is what has been written so far."""

    def __init__(self, stream: BinaryIO, root: bytes) -> None:
        self._stream = stream
        head = header(root)
        stream.write(head)
        self.length = len(head)

    def write(self, cid: bytes, data: Buffer) -> int:
        """Write one section and return its offset."""
        offset = self.length
        prefix = section_prefix(cid, len(data))
        self._stream.write(prefix)
        self._stream.write(data)
        self.length += len(prefix) + len(data)
        return offset


class CarReader:
    """Reads a CAR from a stream, front to back, one section at a time; holds a section and a read-ahead of 1 MiB.

    The header is read at once, so a fault in it is raised here. ``padding_offset`` is None until the sections have
    ended; then it is where the zero padding begins, or the end of the file.

    Raises:
        BadCar, TruncatedCar, LimitExceeded: with the offset and the bad value.
    """

    def __init__(self, stream: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> None:
        self._window = _Window(stream)
        self._limits = limits
        self.padding_offset: int | None = None
        self.roots, self.header_length = _read_header(self._window, limits)

    def __iter__(self) -> Iterator[Section]:
        """Yield the sections that are still unread, in order."""
        while (section := self._next()) is not None:
            yield section

    def check_padding(self) -> int:
        """Read the rest of the file and return how many bytes of padding it has.

        Raises:
            BadCar: one of them is not zero.
        """
        if self.padding_offset is None:
            raise RuntimeError("the sections have not been read to their end")
        start = self._window.offset
        while rest := self._window.take_some():
            if rest.count(0) != len(rest):
                first = len(rest) - len(rest.lstrip(b"\0"))
                at = self._window.offset - len(rest) + first
                raise BadCar(f"the padding has a byte 0x{rest[first]:02x} at offset {at}")
        return self._window.offset - start

    def _next(self) -> Section | None:
        if self.padding_offset is not None:
            return None
        window, offset = self._window, self._window.offset
        head = window.peek(varint.MAX_LENGTH)
        if not head or head[0] == 0:
            self.padding_offset = offset
            return None
        length, head_length = _section_head(head, offset, self._limits)
        window.skip(head_length)
        body = window.take(length)
        if len(body) < length:
            raise TruncatedCar(f"the section at offset {offset} has {length} bytes, {len(body)} are there")
        return _section(body, offset, offset + head_length)


def read_section(descriptor: int, offset: int, limits: Limits = DEFAULT_LIMITS) -> Section:
    """Read the section at ``offset`` of an open file, without moving its position.

    Raises:
        BadCar, TruncatedCar, LimitExceeded: there is no whole section at this offset.
    """
    head = os.pread(descriptor, varint.MAX_LENGTH, offset)
    if not head or head[0] == 0:
        raise BadCar(f"there is no section at offset {offset}")
    length, head_length = _section_head(head, offset, limits)
    body = _pread_all(descriptor, length, offset + head_length)
    if len(body) < length:
        raise TruncatedCar(f"the section at offset {offset} has {length} bytes, {len(body)} are there")
    return _section(body, offset, offset + head_length)


def _section_head(head: bytes, offset: int, limits: Limits) -> tuple[int, int]:
    try:
        length, head_length = varint.decode(head)
    except BadVarint as error:
        if len(head) < varint.MAX_LENGTH and head[-1] > 127:
            raise TruncatedCar(f"the file ends in the length of the section at offset {offset}") from error
        raise BadCar(f"the section at offset {offset} has no length: {error}") from error
    if length > limits.max_section:
        raise LimitExceeded(
            f"the section at offset {offset} has {length} bytes, more than the limit of {limits.max_section}"
        )
    return length, head_length


def _section(body: bytes, offset: int, body_offset: int) -> Section:
    try:
        parts, data_start = cids.split(body)
    except BadCid as error:
        raise BadCar(f"the section at offset {offset} has no CID: {error}") from error
    return Section(offset, parts.cid, body_offset + data_start, body[data_start:])


def _read_header(window: _Window, limits: Limits) -> tuple[tuple[bytes, ...], int]:
    head = window.peek(varint.MAX_LENGTH)
    if not head:
        raise TruncatedCar("an empty file is not a CAR")
    try:
        length, head_length = varint.decode(head)
    except BadVarint as error:
        raise BadCar(f"the CAR header has no length: {error}") from error
    if length > limits.max_header:
        raise LimitExceeded(f"the CAR header has {length} bytes, more than the limit of {limits.max_header}")
    window.skip(head_length)
    body = window.take(length)
    if len(body) < length:
        raise TruncatedCar(f"the CAR header has {length} bytes, {len(body)} are there")
    try:
        value = libipld.decode_dag_cbor(body)
    except ValueError as error:
        raise BadCar(f"the CAR header is not DAG-CBOR: {error}") from error
    if not isinstance(value, dict) or value.get("version") != 1 or isinstance(value["version"], bool):
        version = value.get("version") if isinstance(value, dict) else None
        raise BadCar(f"the CAR header has version {version!r}, not 1")
    roots = value.get("roots")
    if not isinstance(roots, list) or not all(isinstance(root, bytes) for root in roots):
        raise BadCar("the CAR header has no list of roots")
    for root in roots:
        try:
            _, end = cids.split(root)
        except BadCid as error:
            raise BadCar(f"the CAR header has a root that is not a CID: {error}") from error
        if end != len(root):
            raise BadCar("the CAR header has a root with bytes behind its CID")
    return tuple(roots), head_length + length


class _Window:
    """Read-ahead over a stream that knows its offset."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._buffer = b""
        self._at = 0
        self.offset = 0

    def peek(self, count: int) -> bytes:
        """Return the next ``count`` bytes, fewer only at the end of the stream."""
        self._fill(count)
        return self._buffer[self._at : self._at + count]

    def skip(self, count: int) -> None:
        """Step over bytes that ``peek`` has shown."""
        self._at += count
        self.offset += count

    def take(self, count: int) -> bytes:
        """Return and step over the next ``count`` bytes, fewer only at the end of the stream."""
        data = self.peek(count)
        self.skip(len(data))
        return data

    def take_some(self) -> bytes:
        """Return and step over what can be had at once; empty at the end of the stream."""
        self._fill(1)
        data = self._buffer[self._at :]
        self.skip(len(data))
        return data

    def _fill(self, count: int) -> None:
        missing = count - (len(self._buffer) - self._at)
        if missing <= 0:
            return
        parts = [self._buffer[self._at :]]
        while missing > 0:
            part = self._stream.read(max(missing, _READ_BYTES))
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        self._buffer, self._at = b"".join(parts), 0


def _pread_all(descriptor: int, count: int, offset: int) -> bytes:
    parts = []
    while count > 0:
        part = os.pread(descriptor, count, offset)
        if not part:
            break
        parts.append(part)
        count -= len(part)
        offset += len(part)
    return b"".join(parts)
