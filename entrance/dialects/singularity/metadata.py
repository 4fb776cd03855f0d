"""PieceMetadata on the wire: JSON, and CBOR with integer keys as Singularity's own downloader asks for it (chapter 3.5)."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from common.db.catalogue import StorageRecord
from entrance.core.storage_secrets import CLIENT_SECRETS, is_secret
from entrance.dialects.singularity import wire

if TYPE_CHECKING:
    from entrance.core.content import Block, PieceMetadata


def as_json(found: PieceMetadata) -> wire.Wire:
    """Return the metadata as the API shows it; secret options are left out."""
    config, client = _open_settings(found.storage)
    return {
        "car": wire.car(found.car),
        "storage": {**wire.storage(found.storage), "config": config, "clientConfig": client},
        "carBlocks": [_block(block, found.car.id) for block in found.blocks],
        "files": [
            {
                "id": file.id,
                "cid": "",
                "path": path,
                "hash": file.hash,
                "size": file.size,
                "lastModifiedNano": file.modified_ns,
                "attachmentId": file.attachment_id,
                "directoryId": file.directory_id,
            }
            for file, path in found.files
        ],
    }


def _block(block: Block, car_id: int) -> wire.Wire:
    return {
        "id": block.number,
        "cid": wire.cid_text(block.cid),
        "carOffset": block.offset,
        "carBlockLength": block.length,
        "varint": base64.b64encode(block.head).decode(),
        "rawBlock": None if block.data is None else base64.b64encode(block.data).decode(),
        "fileOffset": block.file_offset,
        "carId": car_id,
        "fileId": block.file_id,
    }


def as_cbor(found: PieceMetadata) -> bytes:
    """Return the metadata as CBOR; empty fields are left out."""
    car, storage = found.car, found.storage
    config, client = _open_settings(storage)
    value = {
        1: _filled(
            {0: car.type, 1: car.piece_cid, 2: car.piece_size, 3: car.root_cid, 4: car.file_size, 5: car.virtual_padding}
        ),
        2: _filled({1: storage.type, 2: storage.path, 3: config, 4: client}),
        3: [
            _filled({1: b.cid, 2: b.offset, 3: b.length, 4: b.head, 5: b.data, 6: b.file_offset, 7: b.file_id})
            for b in found.blocks
        ],
        4: [_filled({1: f.id, 2: path, 3: f.hash, 4: f.size, 5: f.modified_ns}) for f, path in found.files],
    }
    return b"".join(_cbor(value))


def _open_settings(storage: StorageRecord) -> tuple[dict[str, str], dict[str, Any]]:
    """Return config and ClientConfig of a storage without its secrets."""
    config = {key: value for key, value in storage.config.items() if not is_secret(key)}
    return config, {key: value for key, value in storage.client_config.items() if key not in CLIENT_SECRETS}


def _filled(values: Mapping[int, Any]) -> dict[int, Any]:
    return {key: value for key, value in values.items() if value not in (None, "", 0, b"", {})}


def _cbor(value: Any) -> Iterator[bytes]:
    """Yield a value as CBOR (RFC 8949): integers, bytes, texts, truth values, lists, maps in the order given."""
    if isinstance(value, bool):
        yield b"\xf5" if value else b"\xf4"
    elif isinstance(value, int):
        yield _head(0, value) if value >= 0 else _head(1, -1 - value)
    elif isinstance(value, bytes):
        yield _head(2, len(value)) + value
    elif isinstance(value, str):
        text = value.encode("utf-8", "replace")
        yield _head(3, len(text)) + text
    elif isinstance(value, Mapping):
        yield _head(5, len(value))
        for key, inner in value.items():
            yield from _cbor(key)
            yield from _cbor(inner)
    elif isinstance(value, Sequence):
        yield _head(4, len(value))
        for inner in value:
            yield from _cbor(inner)
    else:
        yield from _cbor(str(value))


def _head(major: int, count: int) -> bytes:
    for extra, bits in ((24, 8), (25, 16), (26, 32), (27, 64)):
        if count < 24:
            return bytes([major << 5 | count])
        if count < 1 << bits:
            return bytes([major << 5 | extra]) + count.to_bytes(bits // 8, "big")
    raise ValueError("a number of more than 64 bits")
