"""Who asks for a list: a signature with a user's key, a bearer token, a session, or trust over loopback."""

from __future__ import annotations

from flask import Request

from common.db.accounts import Accounts
from common.errors import NotLoggedIn
from common.storage.secrets import Secrets
from entrance.core.model import Caller
from entrance.dialects.dataspaces import signature
from entrance.web.state import the_auth, the_core


def caller_of(request: Request) -> Caller:
    """Return who makes a request. Raises NotLoggedIn and its kin."""
    authorization = request.headers.get("Authorization", "")
    if signature.is_of_scheme(authorization):
        return _signer(authorization, request.headers.get("X-Date", ""))
    caller = the_auth().guest(request)
    if caller is None:
        raise NotLoggedIn("the request is not signed and bears no token")
    return caller


def _signer(authorization: str, x_date: str) -> Caller:
    core = the_core()
    given = signature.credentials(authorization)
    if given is None:
        raise NotLoggedIn('Authorization: needs accesskey, algorithm="hmac-sha256", headers="x-date" and signature')
    date, skew_seconds = signature.date_of(x_date), core.settings.auth.signature_skew_seconds
    if date is None:
        raise NotLoggedIn("X-Date: is missing or no date")
    if skew_seconds and abs(core.clock.now() - date) > skew_seconds * 1000:
        raise NotLoggedIn(f"X-Date: differs from our clock by more than {skew_seconds} s")
    secrets = Secrets.of_folder(core.settings.data_folder)
    with core.readers.read() as tx:
        key = Accounts(tx).key(given.access_id, secrets)
    if key is None or not signature.fits(key.secret, x_date, given.signature):
        raise NotLoggedIn("the signature is not that of a known access key")
    return Caller(name=key.user, admin=key.admin)
