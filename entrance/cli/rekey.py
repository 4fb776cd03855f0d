"""``storage rekey``: a new key for all stored secrets, while the service runs.

First the key file gets the new key beside the old one, then the rows are encrypted anew, last the old key goes. At each
moment everything can be decrypted, so a crash in between does no harm; the next call finishes it. A request of a running
service that began under the old key may commit after the rows were done, hence the second look before the old key goes.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.db.reencrypt import Reencrypted, check, reencrypt
from common.errors import Conflict
from common.storage.secrets import ENVIRONMENT_KEY, KEY_FILE_NAME, Secrets, add_key, drop_old_keys
from entrance.cli.folder import DataFolder

GRACE_SECONDS = 2.0  # longer than any request holds a secret that it has encrypted


def rekey(folder: DataFolder) -> Reencrypted:
    """Encrypt all secrets of a data folder with a new key; return how many those were.

    With ``ENTRANCE_SECRET_KEY`` the keys are the environment's, which cannot be changed from here: all is encrypted with the
    first of them. Raises Conflict while another call is at it; EntranceError, having changed nothing, when there is a secret
    that cannot be decrypted.
    """
    folder.upgrade()
    with _alone(folder.path):
        secrets = Secrets.of_folder(folder.path)
        with folder.read() as tx:
            check(tx, secrets)
        if os.environ.get(ENVIRONMENT_KEY):
            return _once(folder, secrets)
        key_file = folder.path / KEY_FILE_NAME
        add_key(key_file)
        done = late = _once(folder, secrets)
        while folder.service() is not None:
            time.sleep(GRACE_SECONDS)
            late = _once(folder, secrets)
            if not (late.storages or late.keys):
                break
            done = Reencrypted(storages=done.storages + late.storages, keys=done.keys + late.keys)
        drop_old_keys(key_file)
        return done


def _once(folder: DataFolder, secrets: Secrets) -> Reencrypted:
    with folder.write() as tx:
        return reencrypt(tx, secrets)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock on the folder itself, which leaves nothing behind."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict("another `storage rekey` is at work on this data folder") from error
        yield
    finally:
        os.close(descriptor)
