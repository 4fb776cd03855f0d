"""Who makes a BlackPearl request: a signature of version 2 with a user's key, or a bearer token. Never a trusted address."""

from __future__ import annotations

from flask import Request
from werkzeug.datastructures import EnvironHeaders

from common.db.accounts import AccessKey, Accounts
from common.storage.secrets import Secrets
from entrance.core.model import Caller
from entrance.dialects.blackpearl import signature
from entrance.dialects.blackpearl.errors import SignatureRefused
from entrance.web.state import the_auth, the_core


def caller_of(request: Request) -> Caller:
    """Return who makes a request. Raises SignatureRefused, TokenRefused."""
    bearer = the_auth().bearer(request)
    return bearer if bearer is not None else _signer(_received(request))


def _received(request: Request) -> signature.Received:
    target: str = request.environ["REQUEST_URI"]
    if not target.startswith("/"):  # absolute form, as sent to proxies
        target = "/" + target.partition("://")[2].partition("/")[2]
    return signature.Received(
        method=request.environ["REQUEST_METHOD"],
        target=target,
        headers={name.lower(): value for name, value in EnvironHeaders(request.environ)},
    )


def _signer(received: signature.Received) -> Caller:
    """Return whose key signed. The order of the checks is the contract's."""
    given = signature.credentials(received.headers.get("authorization", ""))
    if given is None:
        raise SignatureRefused("AccessDenied", "The request is not signed (Authorization: AWS id:signature).")
    access_id, signed = given
    key = _key(access_id)
    if key is None:
        raise SignatureRefused("InvalidAccessKeyId", "The access id is not known.")
    date, now = signature.date_of(received), the_core().clock.now()
    if date is None:
        raise SignatureRefused("AccessDenied", "The request has no Date header that is a date.")
    skew_seconds = the_core().settings.auth.signature_skew_seconds
    if skew_seconds and abs(now - date) > skew_seconds * 1000:
        raise SignatureRefused("RequestTimeTooSkewed", f"Your clock differs from ours by more than {skew_seconds} seconds.")
    if not signature.fits(received, key.secret, signed):
        raise SignatureRefused("SignatureDoesNotMatch", "The signature is not the one that we calculate for this request.")
    return Caller(name=key.user, admin=key.admin)


def _key(access_id: str) -> AccessKey | None:
    core = the_core()
    secrets = Secrets.of_folder(core.settings.data_folder)
    with core.readers.read() as tx:
        return Accounts(tx).key(access_id, secrets)
