"""Secrets at rest: texts encrypted with a key that lies beside the database, not in it.

The key is 32 random bytes in URL-safe base64 (a Fernet key: AES-128-CBC with HMAC-SHA256) in a file of the data folder,
readable by its owner only, or in the environment variable ``ENTRANCE_SECRET_KEY`` when no file should hold it.

While keys are being changed there are several, a line each, or in the variable with blanks between: the first encrypts, all
decrypt. So a running service never meets a text that it cannot read: it looks at the file at every use.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from common.errors import EntranceError, StartRefused

KEY_FILE_NAME = "secret.key"
ENVIRONMENT_KEY = "ENTRANCE_SECRET_KEY"
MASK = "******"


class Secrets:
    """Encrypts and decrypts texts. ``repr`` shows nothing of the key."""

    def __init__(self, key_file: Path, environ: Mapping[str, str] | None = None) -> None:
        """Take the key from the environment, else from ``key_file``, which is made (mode 0600) when it is missing.

        Raises StartRefused when the key is not usable or other users may read the file.
        """
        text = (os.environ if environ is None else environ).get(ENVIRONMENT_KEY)
        self._path = None if text else key_file
        self._version: tuple[int, int] | None = None
        if text:
            self._keys = _fernets(text.split())
        else:
            _make(key_file)
            self._look()

    @classmethod
    def of_folder(cls, data_folder: Path) -> Secrets:
        """Return the secrets of a data folder."""
        return cls(data_folder / KEY_FILE_NAME)

    def encrypt(self, text: str) -> bytes:
        """Return the text encrypted with the newest key; twice the same text gives different bytes."""
        self._look()
        return self._keys[0].encrypt(text.encode())

    def decrypt(self, body: bytes) -> str:
        """Return the text. Raises EntranceError when it was encrypted with another key, or changed since."""
        self._look()
        try:
            return MultiFernet(self._keys).decrypt(body).decode()
        except InvalidToken as error:
            raise EntranceError("a stored secret does not fit the key: has the key file been replaced?") from error

    def is_newest(self, body: bytes) -> bool:
        """Whether a text was encrypted with the newest key."""
        self._look()
        try:
            self._keys[0].decrypt(body)
        except InvalidToken:
            return False
        return True

    def _look(self) -> None:
        """Read the file again when it was replaced."""
        if self._path is None:
            return
        with suppress(FileNotFoundError):  # a moment ago it was there: then what it said still holds
            seen = self._path.stat()
            version = (seen.st_ino, seen.st_mtime_ns)
            if version != self._version:
                self._keys, self._version = _fernets(_read(self._path)), version


def add_key(path: Path) -> None:
    """Put a new key in front of those of a key file, which must be there; the old ones go on decrypting."""
    _write(path, [Fernet.generate_key().decode(), *_read(path)])


def drop_old_keys(path: Path) -> None:
    """Leave only the newest key in a key file: what is still encrypted with another is lost then."""
    _write(path, _read(path)[:1])


def _fernets(texts: Sequence[str]) -> list[Fernet]:
    try:
        found = [Fernet(text) for text in texts]
    except ValueError as error:
        raise StartRefused("the key for stored secrets is not 32 bytes in URL-safe base64") from error
    if not found:
        raise StartRefused("there is no key for stored secrets: the key file is empty")
    return found


def _make(path: Path) -> None:
    """Make a key file when it is missing, so that nobody ever sees half of it."""
    if not path.exists():
        temporary = _temporary(path, [Fernet.generate_key().decode()])
        try:
            with suppress(FileExistsError):  # somebody else was first: theirs counts
                os.link(temporary, path)
        finally:
            temporary.unlink()


def _write(path: Path, keys: Sequence[str]) -> None:
    """Replace a key file at once, for good."""
    _temporary(path, keys).replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _temporary(path: Path, keys: Sequence[str]) -> Path:
    """Write keys into a new file beside the key file, mode 0600, and return its path."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, "".join(f"{key}\n" for key in keys).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return temporary


def _read(path: Path) -> list[str]:
    if path.stat().st_mode & 0o077:
        raise StartRefused(f"{path.name} holds the key of all stored secrets and must not be open to others (chmod 600)")
    return path.read_text(encoding="ascii", errors="replace").split()
