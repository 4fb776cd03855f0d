"""Who is asking: passwords, sessions, tokens, and requests over loopback. What each may do is ``entrance.core.access``.

Nothing is cached: a token that was taken back or a password that was changed counts from the next request on, whoever
changed it. One look-up is one indexed read.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Request

from common.db.accounts import Accounts, nobodys_hash, verify_password
from entrance.core.model import Caller
from entrance.web.core import Core
from entrance.web.errors import SessionExpired, TokenRefused, TooManyTries, WrongPassword

COOKIE = "linkis_user_session_ticket_id_v1"
HASHES_AT_ONCE = 2  # each takes a core for 30 ms and 19 MiB
LOGIN_KEY_BITS = 2048
TRY_WINDOW_MS = 60_000
MAX_REMEMBERED = 10_000  # names and addresses with wrong passwords
MAX_NAME_CHARACTERS = 65  # one more than any user's name has: what is longer names nobody, and is not remembered whole


@dataclass(frozen=True, kw_only=True)
class Login:
    """A session that has begun."""

    caller: Caller
    ticket: str


class Auth:
    """Opens the doors of one service."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._settings = core.settings.auth
        self._life_ms = self._settings.session_seconds * 1000
        self._hashing = threading.BoundedSemaphore(HASHES_AT_ONCE)
        self._making_key = threading.Lock()
        self._login_key: rsa.RSAPrivateKey | None = None
        self._nobody = nobodys_hash()  # so that unknown names take as long as wrong passwords
        self._tries = Tries(core.settings.limits.login_tries)
        self._proxies = [ipaddress.ip_network(p, strict=False) for p in self._settings.trusted_proxies]

    # ---- passwords and sessions

    def login_key(self) -> rsa.RSAPrivateKey:
        """Return the key that passwords are encrypted with on their way; made when it is first needed, for this run."""
        with self._making_key:
            if self._login_key is None:
                self._login_key = self._core.offload(rsa.generate_private_key, 65537, LOGIN_KEY_BITS)
            return self._login_key

    def login(self, name: str, password: str, address: str) -> Login:
        """Begin a session. Raises WrongPassword (unknown names too), TooManyTries."""
        name = name.strip().lower()[:MAX_NAME_CHARACTERS]
        now = self._core.clock.now()
        keys = (f"name {name}", f"address {address}")
        self._tries.begin(keys, now)
        with self._core.readers.read() as tx:
            user = Accounts(tx).user(name)
        with self._hashing:
            stored = (user.password_hash if user else "") or self._nobody
            fits = self._core.offload(verify_password, stored, password)
        if user is None or not user.password_hash or not fits:
            raise WrongPassword
        self._tries.forget(keys, now)
        caller = Caller(name=user.name, admin=user.admin)
        return Login(caller=caller, ticket=self.begin_session(caller))

    def begin_session(self, caller: Caller) -> str:
        """Return the ticket of a new session."""
        now = self._core.clock.now()
        return self._core.writer.call(lambda tx: Accounts(tx).add_session(caller.name, now=now, life_ms=self._life_ms))

    def session(self, ticket: str) -> Caller:
        """Return whose session it is; that counts as its use. Raises SessionExpired."""
        with self._core.readers.read() as tx:
            holder = Accounts(tx).session_holder(ticket)
        now = self._core.clock.now()
        if holder is None or now - holder.used_at > self._life_ms:
            raise SessionExpired
        if now - holder.used_at > self._life_ms // 2:
            self._core.writer.call(lambda tx: Accounts(tx).use_session(ticket, now))
        return Caller(name=holder.user, admin=holder.admin)

    def logout(self, ticket: str) -> None:
        """End a session; no error when there is none."""
        self._core.writer.call(lambda tx: Accounts(tx).end_session(ticket))

    # ---- tokens

    def token(self, token: str, user: str | None = None) -> Caller:
        """Return whom the token names; with ``user``, it must be that one. Raises TokenRefused."""
        refused = partial(TokenRefused, token=token, user=user or "")
        if not self._settings.token_enabled:
            raise refused("off")
        if not token.strip() or (user is not None and not user.strip()):
            raise refused("blank")
        with self._core.readers.read() as tx:
            holder = Accounts(tx).token_holder(token)
        if holder is None:
            raise refused("unknown")
        if holder.expires_at is not None and self._core.clock.now() >= holder.expires_at:
            raise refused("expired")
        if user is not None and user.strip().lower() != holder.user:
            raise refused("user")
        return Caller(name=holder.user, admin=holder.admin)

    def bearer(self, request: Request, user: str | None = None) -> Caller | None:
        """Return whom ``Authorization: Bearer`` names, None when there is no such header. Raises TokenRefused."""
        scheme, _, token = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        return self.token(token.strip(), user) if scheme.lower() == "bearer" else None

    # ---- doors without a login of their own

    def credentials(self, request: Request) -> Caller | None:
        """Return whom a bearer token or a session cookie names; None = neither is there.

        Raises TokenRefused, SessionExpired for what is there and wrong.
        """
        caller = self.bearer(request)
        if caller is not None:
            return caller
        ticket = request.cookies.get(COOKIE)
        return self.session(ticket) if ticket else None

    def guest(self, request: Request) -> Caller | None:
        """Return who asks through a door whose clients have no login: by credentials, else by trust over loopback."""
        return self.credentials(request) or self._loopback(request)

    def _loopback(self, request: Request) -> Caller | None:
        name = self._settings.trust_loopback
        if not name or request.headers.get("Authorization"):
            return None
        if any(h in request.headers for h in ("X-Forwarded-For", "Forwarded", "X-Real-IP")):
            return None  # a proxy on this machine speaks for somebody else
        if not ipaddress.ip_address(request.remote_addr or "0.0.0.0").is_loopback:  # noqa: S104 - no address, no trust
            return None
        with self._core.readers.read() as tx:
            user = Accounts(tx).user(name)
        return None if user is None else Caller(name=user.name, admin=user.admin)

    def address(self, request: Request) -> str:
        """Return the client's address; what a proxy says of it counts only if the proxy is trusted."""
        peer = request.remote_addr or ""
        forwarded = request.headers.get("X-Forwarded-For")
        if forwarded and self._trusted(peer):
            return forwarded.split(",")[0].strip()
        return peer

    def over_tls(self, request: Request) -> bool:
        """Whether the client came over TLS, to us or to a trusted proxy."""
        if request.is_secure:
            return True
        return request.headers.get("X-Forwarded-Proto") == "https" and self._trusted(request.remote_addr or "")

    def _trusted(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._proxies)


class Tries:
    """Counts wrong passwords per name and per address within a minute; tries that are still being judged count too."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._at: dict[str, deque[int]] = {}

    def begin(self, keys: Sequence[str], now: int) -> None:
        """Count a try. Raises TooManyTries when one of the keys has had too many."""
        for key in keys:
            times = self._at.get(key)
            while times and now - times[0] >= TRY_WINDOW_MS:
                times.popleft()
            if times and len(times) >= self._limit:
                raise TooManyTries(max(1, (times[0] + TRY_WINDOW_MS - now + 999) // 1000))
        self._prune(now)
        for key in keys:
            self._at.setdefault(key, deque()).append(now)

    def forget(self, keys: Sequence[str], now: int) -> None:
        """The try that began at ``now`` was right: it does not count."""
        for key in keys:
            times = self._at.get(key)
            if times and now in times:
                times.remove(now)
            if not times:
                self._at.pop(key, None)

    def _prune(self, now: int) -> None:
        if len(self._at) < MAX_REMEMBERED:
            return
        self._at = {key: times for key, times in self._at.items() if times and now - times[-1] < TRY_WINDOW_MS}
