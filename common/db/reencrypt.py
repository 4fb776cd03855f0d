"""Stored secrets under another key: those of storages, and the access keys of users."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from common.db import tables as t
from common.db.sql import Sql, Tx
from common.storage.secrets import Secrets

_STORAGES = Sql(select(t.storages.c.id, t.storages.c.secrets).where(t.storages.c.secrets.is_not(None)))
_SET_STORAGE = Sql(update(t.storages).where(t.storages.c.id == bindparam("key")).values(secrets=bindparam("body")))
_KEYS = Sql(select(t.keys.c.access_id, t.keys.c.secret))
_SET_KEY = Sql(update(t.keys).where(t.keys.c.access_id == bindparam("key")).values(secret=bindparam("body")))


@dataclass(frozen=True, kw_only=True)
class Reencrypted:
    """How many were encrypted anew."""

    storages: int
    keys: int


def check(tx: Tx, secrets: Secrets) -> None:
    """Raises EntranceError when there is a secret that no key decrypts."""
    for sql in (_STORAGES, _KEYS):
        for _, body in tx.all(sql):
            secrets.decrypt(body)


def reencrypt(tx: Tx, secrets: Secrets) -> Reencrypted:
    """Encrypt what is not yet under the newest key with it. Raises EntranceError when one cannot be decrypted."""
    counts = []
    for sql, change in ((_STORAGES, _SET_STORAGE), (_KEYS, _SET_KEY)):
        old = [(key, body) for key, body in tx.all(sql) if not secrets.is_newest(body)]
        tx.many(change, [{"key": key, "body": secrets.encrypt(secrets.decrypt(body))} for key, body in old])
        counts.append(len(old))
    return Reencrypted(storages=counts[0], keys=counts[1])
