"""Secrets at rest: texts encrypted with a key that lies beside the database, not in it.

The key is 32 random bytes in URL-safe base64 (a Fernet key: AES-128-CBC with HMAC-SHA256) in a file of the data folder,
readable by its owner only, or in the environment variable ``ENTRANCE_SECRET_KEY`` when no file should hold it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

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
        key = text.encode() if text else _key_of(key_file)
        try:
            self._fernet = Fernet(key)
        except ValueError as error:
            raise StartRefused("the key for stored secrets is not 32 bytes in URL-safe base64") from error

    @classmethod
    def of_folder(cls, data_folder: Path) -> Secrets:
        """Return the secrets of a data folder."""
        return cls(data_folder / KEY_FILE_NAME)

    def encrypt(self, text: str) -> bytes:
        """Return the text encrypted; twice the same text gives different bytes."""
        return self._fernet.encrypt(text.encode())

    def decrypt(self, body: bytes) -> str:
        """Return the text. Raises EntranceError when it was encrypted with another key, or changed since."""
        try:
            return self._fernet.decrypt(body).decode()
        except InvalidToken as error:
            raise EntranceError("a stored secret does not fit the key: has the key file been replaced?") from error


def _key_of(path: Path) -> bytes:
    """Read the key file; make it first when it is missing, so that nobody ever sees half of it."""
    if not path.exists():
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, Fernet.generate_key())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            with suppress(FileExistsError):  # somebody else was first: theirs counts
                os.link(temporary, path)
        finally:
            temporary.unlink()
    return _read(path)


def _read(path: Path) -> bytes:
    if path.stat().st_mode & 0o077:
        raise StartRefused(f"{path.name} holds the key of all stored secrets and must not be open to others (chmod 600)")
    return path.read_bytes().strip()
