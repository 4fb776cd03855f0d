"""Expected errors of the codecs: what can be wrong with bytes or numbers that come from outside.

Each class is one sentence; the instance's message adds offsets and the bad value. All are ``ValueError``::

    ContentFault
    ├── BadVarint            a length or code is cut, too long or not in its shortest form
    ├── BadCid               not a CID, or of a kind that is not supported here
    ├── BadBlock             the bytes of a block are not what its codec prescribes
    │   └── WrongDigest      the bytes of a block do not hash to its CID
    ├── BadCar               a CAR header or section cannot be read
    │   └── TruncatedCar     the CAR ends inside its header or a section
    ├── BadIndex             a CAR index file cannot be read
    ├── BadDirectory         entries that cannot form a directory (name, duplicate, depth)
    ├── BadSize              a size text or number that the rules refuse
    ├── LimitExceeded        a length, depth or count over its named limit
    ├── PieceTooSmall        under 65 bytes of payload
    ├── PieceTooLarge        over 64 GiB padded
    └── BadCheckpoint        the saved state of a piece cannot be used
"""

from __future__ import annotations


class ContentFault(ValueError):
    """The content cannot be read or made."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class BadVarint(ContentFault):
    """A length or code is cut, too long or not in its shortest form."""


class BadCid(ContentFault):
    """The bytes or the text are not a CID that is supported here."""


class BadBlock(ContentFault):
    """The bytes of a block are not what its codec prescribes."""


class WrongDigest(BadBlock):
    """The bytes of a block do not hash to its CID."""


class BadCar(ContentFault):
    """The CAR header or a section cannot be read."""


class TruncatedCar(BadCar):
    """The CAR ends inside its header or a section."""


class BadIndex(ContentFault):
    """The CAR index cannot be read."""


class BadDirectory(ContentFault):
    """These entries cannot form a directory."""


class BadSize(ContentFault):
    """The size cannot be used."""


class LimitExceeded(ContentFault):
    """A length, depth or count is over its limit."""


class PieceTooSmall(ContentFault):
    """A piece commitment needs at least 65 bytes."""


class PieceTooLarge(ContentFault):
    """A piece cannot be larger than 64 GiB padded."""


class BadCheckpoint(ContentFault):
    """The saved state of a piece cannot be used."""
