"""The session cookie. No domain, since clients hold cookies of IP addresses; strict, since GETs change things here."""

from __future__ import annotations

from flask import Response, request

from entrance.web.auth import COOKIE
from entrance.web.state import the_auth


def set_ticket(response: Response, ticket: str) -> None:
    """Put the ticket of a session into the answer."""
    response.set_cookie(COOKIE, ticket, path="/", httponly=True, samesite="Strict", secure=the_auth().over_tls(request))


def clear_ticket(response: Response) -> None:
    """Take the ticket out of the client's jar."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="Strict", secure=the_auth().over_tls(request))
