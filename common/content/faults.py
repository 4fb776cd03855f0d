"""Expected errors of the codecs: what can be wrong with bytes or numbers that come from outside.

They hang under ``common.errors.ContentError``. Each class is one sentence; a message adds offsets and the bad value::

    ContentError
     +- BadVarint         a length or code is cut, too long or not in its shortest form
     +- BadCid            not a CID, or of a kind that is not supported here
     +- BadBlock          the bytes of a block are not what its codec prescribes
     |   +- WrongDigest   the bytes of a block do not hash to its CID
     +- BadCar            a CAR header or section cannot be read
     |   +- TruncatedCar  the CAR ends inside its header or a section
     +- BadIndex          a CAR index file cannot be read
     +- BadDirectory      entries that cannot form a directory (name, duplicate, depth)
     +- BadSize           a size text or number that the rules refuse
     +- LimitExceeded     a length, depth or count over its named limit
     +- PieceTooSmall     under 65 bytes of payload
     +- PieceTooLarge     over 64 GiB padded
     +- BadCheckpoint     the saved state of a piece cannot be used
     +- KernelUnavailable the hashing kernel that was asked for does not run here
"""

from __future__ import annotations

from common.errors import ContentError


class BadVarint(ContentError):
    """A length or code is cut, too long or not in its shortest form."""

    code = "bad_varint"


class BadCid(ContentError):
    """This is not a CID, or not of a kind that is supported here."""

    code = "bad_cid"


class BadBlock(ContentError):
    """The bytes of a block are not what its codec prescribes."""

    code = "bad_block"


class WrongDigest(BadBlock):
    """The bytes of a block do not hash to its CID."""

    code = "wrong_digest"


class BadCar(ContentError):
    """The CAR header or a section cannot be read."""

    code = "bad_car"


class TruncatedCar(BadCar):
    """The CAR ends inside its header or a section."""

    code = "truncated_car"


class BadIndex(ContentError):
    """The CAR index cannot be read."""

    code = "bad_index"


class BadDirectory(ContentError):
    """These entries cannot form a directory."""

    code = "bad_directory"


class BadSize(ContentError):
    """The size cannot be used."""

    code = "bad_size"


class LimitExceeded(ContentError):
    """A length, depth or count is over its limit."""

    code = "limit_exceeded"


class PieceTooSmall(ContentError):
    """A piece commitment needs at least 65 bytes."""

    code = "piece_too_small"


class PieceTooLarge(ContentError):
    """A piece cannot be larger than 64 GiB padded."""

    code = "piece_too_large"


class BadCheckpoint(ContentError):
    """The saved state of a piece cannot be used."""

    code = "bad_checkpoint"


class KernelUnavailable(ContentError):
    """The hashing kernel that was asked for does not run here."""

    code = "kernel_unavailable"
    http_status = 500
