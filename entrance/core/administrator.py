"""The first administrator: without one nobody could be let in."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from common.db.accounts import Accounts, hash_password
from common.db.peek import ADMIN, ADMIN_FILE
from common.db.sql import Tx
from common.errors import Conflict


def ensure_administrator(tx: Tx, folder: Path, now: int) -> Path | None:
    """Make the user ``admin`` with a random password when there is no administrator; return the file with the password.

    The file (``admin-password``, 0600) is on the disk before the account is stored: a crash between the two leaves a
    password without account, never the other way round. ``now`` in ms. Raises Conflict when ``admin`` exists without the
    role.
    """
    accounts = Accounts(tx)
    if accounts.first_admin() is not None:
        return None
    if accounts.user(ADMIN) is not None:
        raise Conflict(f"there is no administrator; `entrance user admin {ADMIN}` gives the role to the user {ADMIN}")
    password = secrets.token_urlsafe(15)
    path = folder / ADMIN_FILE
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(password + "\n")
        file.flush()
        os.fsync(descriptor)
    accounts.add_user(ADMIN, hash_password(password), admin=True, now=now)
    return path
