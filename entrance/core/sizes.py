"""The sizes of a preparation and what they must be to each other. Knows no database: short commands check sizes too.

Order and texts of the refusals are those of the Singularity contract, without its suffix for the kind of error.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.content.estimate import next_power_of_two
from common.content.piececid import MAX_PIECE_SIZE
from common.errors import BadInput

DEFAULT_MAX_SIZE = 33_822_867_456  # 31.5 GiB
DEFAULT_MIN_PIECE_SIZE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of a preparation in bytes; ``piece_size`` None: the next power of two."""

    max_size: int = DEFAULT_MAX_SIZE
    piece_size: int | None = None
    min_piece_size: int = DEFAULT_MIN_PIECE_SIZE


def checked_sizes(sizes: Sizes) -> tuple[int, int, int]:
    """Return (max, piece, min piece) sizes. Raises BadInput, in the order of the contract."""
    piece_size = sizes.piece_size
    if piece_size is None:
        piece_size = next_power_of_two(sizes.max_size)
    if piece_size < 1 or piece_size & (piece_size - 1):
        raise BadInput("pieceSize must be a power of two")
    if piece_size > MAX_PIECE_SIZE:
        raise BadInput("pieceSize cannot be larger than 64 GiB")
    if sizes.max_size * 128 // 127 >= piece_size:
        raise BadInput("maxSize needs to be reduced to leave space for padding")
    if sizes.min_piece_size > piece_size:
        raise BadInput("minPieceSize cannot be larger than pieceSize")
    if sizes.min_piece_size < 1 or sizes.min_piece_size & (sizes.min_piece_size - 1):
        raise BadInput("minPieceSize must be a power of two")
    return sizes.max_size, piece_size, sizes.min_piece_size
