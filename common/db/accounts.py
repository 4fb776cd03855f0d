"""Accounts: users, their tokens, sessions and keys, and the local folders that storages may lie in.

``Accounts(tx)`` is a store bound to one transaction (the writer's, a reader's, or ``database.short_write``), so the service
and the commands that work on a data folder share every verb. Nothing is cached: a change is seen by the next request.

What opens a door is stored as a hash: passwords as argon2id, tokens and session tickets, which are random, as SHA-256.
Only the secrets of keys are stored readable, encrypted, because signatures need their clear text.
"""

from __future__ import annotations

import hashlib
import re
import secrets as random
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from common.db import tables as t
from common.db.sql import Sql, Tx
from common.errors import AlreadyExists, BadInput, Conflict, NotFound
from common.storage.secrets import Secrets

DAY_MS = 86_400_000
PREFIX_CHARACTERS = 6  # of a token, kept to tell tokens apart
MAX_PASSWORD_CHARACTERS = 1024
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")

# argon2id with 19 MiB, two passes, one lane: the OWASP cheat sheet's first choice; about 30 ms of one core.
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


# ---- values -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class User:
    """Somebody who may log in. ``password_hash`` is "" for a user that has tokens only."""

    name: str
    admin: bool
    created_at: int
    password_hash: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Token:
    """One token of a user, without its secret. ``expires_at`` None = never."""

    id: int
    user: str
    prefix: str
    created_at: int
    expires_at: int | None


@dataclass(frozen=True, kw_only=True)
class TokenHolder:
    """Who a token names, and until when."""

    user: str
    admin: bool
    expires_at: int | None


@dataclass(frozen=True, kw_only=True)
class SessionHolder:
    """Whose session it is, and when it was last written down as used."""

    user: str
    admin: bool
    used_at: int


@dataclass(frozen=True, kw_only=True)
class AccessKey:
    """A pair for signed requests; ``secret`` is "" in lists."""

    access_id: str
    user: str
    created_at: int
    admin: bool = False
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Root:
    """A local folder that storages may lie in; with a preparation, for that one only."""

    path: str
    preparation_id: int | None
    created_at: int


# ---- passwords and names ------------------------------------------------------------------------------------------


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password. Takes about 30 ms of CPU and 19 MiB: not on an event loop.

    Raises BadInput for an empty password or one of more than 1,024 characters.
    """
    if not password or len(password) > MAX_PASSWORD_CHARACTERS:
        raise BadInput(f"a password has 1 to {MAX_PASSWORD_CHARACTERS} characters")
    return _hasher.hash(password)


def nobodys_hash() -> str:
    """Return a hash that no password fits, and that takes as long to find out as any other."""
    salt, tag = (b64encode(random.token_bytes(n)).decode().rstrip("=") for n in (_hasher.salt_len, _hasher.hash_len))
    costs = f"m={_hasher.memory_cost},t={_hasher.time_cost},p={_hasher.parallelism}"
    return f"$argon2id$v=19${costs}${salt}${tag}"  # the PHC string format, as ``hash_password`` returns it


def verify_password(password_hash: str, password: str) -> bool:
    """Whether the password fits. As costly as ``hash_password``, for every hash that is not empty."""
    if not password_hash or len(password) > MAX_PASSWORD_CHARACTERS:
        return False
    try:
        return _hasher.verify(password_hash, password)
    except (Argon2Error, InvalidHashError):
        return False


def user_name(text: str) -> str:
    """Return a user's name as it is stored: lower case. Raises BadInput when it cannot be one."""
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise BadInput("a user name has 1 to 64 of the characters a-z 0-9 . _ @ - and begins with a letter or a digit")
    return name


def digest(secret: str) -> str:
    """Return the stored form of a token or ticket."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


# ---- statements ---------------------------------------------------------------------------------------------------


def _p(name: str) -> Any:
    return bindparam(name)


_USER = (t.users.c.name, t.users.c.admin, t.users.c.created_at, t.users.c.password_hash)
_GET_USER = Sql(select(*_USER).where(t.users.c.name == _p("name")))
_USERS = Sql(select(*_USER).order_by(t.users.c.name))
_FIRST_ADMIN = Sql(select(*_USER).where(t.users.c.admin == 1).order_by(t.users.c.created_at, t.users.c.name).limit(1))
_OTHER_ADMINS = Sql(select(func.count()).select_from(t.users).where(t.users.c.admin == 1, t.users.c.name != _p("name")))
_ADD_USER = Sql(insert(t.users).values({c.name: _p(c.name) for c in t.users.c}))
_SET_PASSWORD = Sql(update(t.users).where(t.users.c.name == _p("who")).values(password_hash=_p("password_hash")))
_SET_ADMIN = Sql(update(t.users).where(t.users.c.name == _p("who")).values(admin=_p("admin")))
_REMOVE_USER = Sql(delete(t.users).where(t.users.c.name == _p("name")))

_TOKEN = (t.tokens.c.id, t.tokens.c.user, t.tokens.c.prefix, t.tokens.c.created_at, t.tokens.c.expires_at)
_ADD_TOKEN = Sql(insert(t.tokens).values({c.name: _p(c.name) for c in t.tokens.c if c.name != "id"}))
_TOKENS = Sql(select(*_TOKEN).order_by(t.tokens.c.id))
_TOKEN_HOLDER = Sql(
    select(t.tokens.c.user, t.users.c.admin, t.tokens.c.expires_at)
    .join(t.users, t.users.c.name == t.tokens.c.user)
    .where(t.tokens.c.sha256 == _p("sha256"))
)
_REMOVE_TOKEN = Sql(delete(t.tokens).where(t.tokens.c.id == _p("token")))

_ADD_SESSION = Sql(insert(t.sessions).values({c.name: _p(c.name) for c in t.sessions.c}))
_SESSION_HOLDER = Sql(
    select(t.sessions.c.user, t.users.c.admin, t.sessions.c.used_at)
    .join(t.users, t.users.c.name == t.sessions.c.user)
    .where(t.sessions.c.sha256 == _p("sha256"))
)
_USE_SESSION = Sql(update(t.sessions).where(t.sessions.c.sha256 == _p("hash")).values(used_at=_p("used_at")))
_END_SESSION = Sql(delete(t.sessions).where(t.sessions.c.sha256 == _p("sha256")))
_END_SESSIONS = Sql(delete(t.sessions).where(t.sessions.c.user == _p("user")))
_END_OLD_SESSIONS = Sql(delete(t.sessions).where(t.sessions.c.used_at < _p("before")))

_ADD_KEY = Sql(insert(t.keys).values({c.name: _p(c.name) for c in t.keys.c}))
_KEYS = Sql(select(t.keys.c.access_id, t.keys.c.user, t.keys.c.created_at).order_by(t.keys.c.created_at, t.keys.c.access_id))
_KEY = Sql(
    select(t.keys.c.access_id, t.keys.c.user, t.keys.c.created_at, t.users.c.admin, t.keys.c.secret)
    .join(t.users, t.users.c.name == t.keys.c.user)
    .where(t.keys.c.access_id == _p("access_id"))
)
_REMOVE_KEY = Sql(delete(t.keys).where(t.keys.c.access_id == _p("access_id")))

_insert_root = upsert(t.roots).values({c.name: _p(c.name) for c in t.roots.c})
_ALLOW = Sql(
    _insert_root.on_conflict_do_update(
        index_elements=["path"], set_={"preparation_id": _insert_root.excluded.preparation_id}
    )
)
_ALLOW_ONE = Sql(_insert_root.on_conflict_do_nothing(index_elements=["path"]))
_ROOTS = Sql(select(t.roots.c.path, t.roots.c.preparation_id, t.roots.c.created_at).order_by(t.roots.c.path))
_DISALLOW = Sql(delete(t.roots).where(t.roots.c.path == _p("path")))


class Accounts:
    """The verbs on accounts, inside one transaction."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    # ---- users

    def user(self, name: str) -> User | None:
        """Return the user of this name, whatever its letter case."""
        row = self._tx.one(_GET_USER, name=name.lower())
        return None if row is None else _user(row)

    def users(self) -> list[User]:
        """Return all users by name."""
        return [_user(row) for row in self._tx.all(_USERS)]

    def first_admin(self) -> User | None:
        """Return the administrator that was made first."""
        row = self._tx.one(_FIRST_ADMIN)
        return None if row is None else _user(row)

    def add_user(self, name: str, password_hash: str, *, admin: bool, now: int) -> User:
        """Add a user (``password_hash`` "" = cannot log in with a password). Raises BadInput, AlreadyExists."""
        name = user_name(name)
        if self.user(name) is not None:
            raise AlreadyExists(f"there is a user {name} already")
        self._tx.insert(_ADD_USER, name=name, password_hash=password_hash, admin=int(admin), created_at=now)
        return User(name=name, admin=admin, created_at=now, password_hash=password_hash)

    def set_password(self, name: str, password_hash: str) -> None:
        """Replace the password and end the user's sessions; tokens and keys stay. Raises NotFound."""
        user = self._known(name)
        self._tx.run(_SET_PASSWORD, who=user.name, password_hash=password_hash)
        self._tx.run(_END_SESSIONS, user=user.name)

    def set_admin(self, name: str, admin: bool) -> None:
        """Raises NotFound; Conflict when no administrator would be left."""
        user = self._known(name)
        if not admin:
            self._keep_an_admin(user)
        self._tx.run(_SET_ADMIN, who=user.name, admin=int(admin))

    def remove_user(self, name: str) -> None:
        """Remove a user with tokens, sessions and keys; the user's tasks stay. Raises NotFound, Conflict (last admin)."""
        user = self._known(name)
        self._keep_an_admin(user)
        self._tx.run(_REMOVE_USER, name=user.name)

    def _known(self, name: str) -> User:
        user = self.user(name)
        if user is None:
            raise NotFound(f"there is no user {name}")
        return user

    def _keep_an_admin(self, leaving: User) -> None:
        others = self._tx.one(_OTHER_ADMINS, name=leaving.name)
        if leaving.admin and others == (0,):
            raise Conflict(f"{leaving.name} is the last administrator")

    # ---- tokens

    def add_token(self, user: str, *, now: int, days: int | None = None) -> tuple[Token, str]:
        """Make a token; return it and its secret, which is not kept. ``days`` None = for ever. Raises NotFound, BadInput."""
        if days is not None and not 1 <= days <= 36_500:
            raise BadInput("a token lives 1 to 36500 days, or for ever")
        owner = self._known(user)
        secret = random.token_urlsafe(32)
        expires_at = None if days is None else now + days * DAY_MS
        prefix = secret[:PREFIX_CHARACTERS]
        number = self._tx.insert(
            _ADD_TOKEN, sha256=digest(secret), user=owner.name, prefix=prefix, created_at=now, expires_at=expires_at
        )
        return Token(id=number, user=owner.name, prefix=prefix, created_at=now, expires_at=expires_at), secret

    def tokens(self) -> list[Token]:
        """Return all tokens, oldest first."""
        return [
            Token(id=row[0], user=row[1], prefix=row[2], created_at=row[3], expires_at=row[4])
            for row in self._tx.all(_TOKENS)
        ]

    def token_holder(self, secret: str) -> TokenHolder | None:
        """Return who the token names, expired or not; None = no such token.

        It is looked up by its hash, so the time of the search tells nothing of the secret.
        """
        row = self._tx.one(_TOKEN_HOLDER, sha256=digest(secret))
        return None if row is None else TokenHolder(user=row[0], admin=bool(row[1]), expires_at=row[2])

    def remove_token(self, token_id: int) -> None:
        """Raises NotFound."""
        if not self._tx.run(_REMOVE_TOKEN, token=token_id):
            raise NotFound(f"there is no token {token_id}")

    # ---- sessions

    def add_session(self, user: str, *, now: int, life_ms: int) -> str:
        """Begin a session and return its ticket (192 random bits); sessions that nobody used for ``life_ms`` go."""
        ticket = random.token_urlsafe(24)
        self._tx.run(_END_OLD_SESSIONS, before=now - life_ms)
        self._tx.insert(_ADD_SESSION, sha256=digest(ticket), user=self._known(user).name, created_at=now, used_at=now)
        return ticket

    def session_holder(self, ticket: str) -> SessionHolder | None:
        """Return whose session it is; whether it is still alive is for the caller to judge."""
        row = self._tx.one(_SESSION_HOLDER, sha256=digest(ticket))
        return None if row is None else SessionHolder(user=row[0], admin=bool(row[1]), used_at=row[2])

    def use_session(self, ticket: str, now: int) -> None:
        """Write down that the session is in use; no error when it is gone."""
        self._tx.run(_USE_SESSION, hash=digest(ticket), used_at=now)

    def end_session(self, ticket: str) -> None:
        """Forget the session; no error when it is gone."""
        self._tx.run(_END_SESSION, sha256=digest(ticket))

    # ---- keys

    def add_key(self, user: str, secrets: Secrets, *, now: int) -> AccessKey:
        """Make a pair of access id (20 characters) and secret (40). Raises NotFound."""
        owner = self._known(user)
        access_id = "EN" + "".join(random.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(18))
        secret = random.token_urlsafe(30)
        self._tx.insert(_ADD_KEY, access_id=access_id, secret=secrets.encrypt(secret), user=owner.name, created_at=now)
        return AccessKey(access_id=access_id, user=owner.name, created_at=now, admin=owner.admin, secret=secret)

    def keys(self) -> list[AccessKey]:
        """Return all keys without their secrets, oldest first."""
        return [AccessKey(access_id=row[0], user=row[1], created_at=row[2]) for row in self._tx.all(_KEYS)]

    def key(self, access_id: str, secrets: Secrets) -> AccessKey | None:
        """Return the key with its secret."""
        row = self._tx.one(_KEY, access_id=access_id)
        if row is None:
            return None
        return AccessKey(
            access_id=row[0], user=row[1], created_at=row[2], admin=bool(row[3]), secret=secrets.decrypt(row[4])
        )

    def remove_key(self, access_id: str) -> None:
        """Raises NotFound."""
        if not self._tx.run(_REMOVE_KEY, access_id=access_id):
            raise NotFound(f"there is no key {access_id}")

    # ---- roots

    def allow(self, path: str, *, now: int, preparation_id: int | None = None) -> None:
        """Allow storages in this folder (absolute path); for all, or for one preparation unless it is allowed already."""
        sql = _ALLOW if preparation_id is None else _ALLOW_ONE
        self._tx.run(sql, path=path, preparation_id=preparation_id, created_at=now)

    def roots(self) -> list[Root]:
        """Return the allowed folders by path."""
        return [Root(path=row[0], preparation_id=row[1], created_at=row[2]) for row in self._tx.all(_ROOTS)]

    def disallow(self, path: str) -> None:
        """Raises NotFound."""
        if not self._tx.run(_DISALLOW, path=path):
            raise NotFound(f"{path} is not an allowed folder")


def _user(row: tuple[Any, ...]) -> User:
    return User(name=row[0], admin=bool(row[1]), created_at=row[2], password_hash=row[3])
