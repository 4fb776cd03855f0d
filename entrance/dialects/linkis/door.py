"""Who comes in through the Linkis door.

In this order: ``Token-Code`` with ``Token-User`` (headers, or cookies of these names), ``Authorization: Bearer``, session
cookie. A bad token is refused even if a good cookie is there.
"""

from __future__ import annotations

from flask import Request, Response, after_this_request

from common.errors import NotLoggedIn
from entrance.core.model import Caller
from entrance.dialects.linkis.cookies import set_ticket
from entrance.web.auth import COOKIE
from entrance.web.errors import TokenRefused
from entrance.web.state import the_auth


def caller_of(req: Request) -> Caller:
    """Return who makes a request. Raises NotLoggedIn and its kin."""
    auth = the_auth()
    cookies = req.cookies if "HTTP_COOKIE" in req.environ else {}
    code = req.environ.get("HTTP_TOKEN_CODE", cookies.get("Token-Code"))
    user = req.environ.get("HTTP_TOKEN_USER", cookies.get("Token-User"))
    if code is not None and user is not None:
        if not code.strip() or not user.strip():
            raise TokenRefused("pair")
        caller = auth.token(code.strip(), user)
    else:
        found = auth.bearer(req, user)
        if found is None:
            ticket = cookies.get(COOKIE)
            if not ticket:
                raise NotLoggedIn
            return auth.session(ticket)
        caller = found
    if req.environ.get("HTTP_TOKEN_ALIVE", "").lower() == "true" and COOKIE not in cookies:
        _keep_alive(caller)
    return caller


def _keep_alive(caller: Caller) -> None:
    """Give the client of a token a session beside it, as it asked."""
    ticket = the_auth().begin_session(caller)

    @after_this_request
    def give(response: Response) -> Response:
        set_ticket(response, ticket)
        return response
