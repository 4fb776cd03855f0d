"""Errors in BlackPearl's words: always XML, always with a numeric ``HttpErrorCode`` and ``ResourceId``, never 401."""

from __future__ import annotations

import re

from flask import Response, request

from common.errors import (
    BadInput,
    Closing,
    Conflict,
    Draining,
    EntranceError,
    Forbidden,
    NotFound,
    NotLoggedIn,
    TaskEnded,
    TooLarge,
)
from entrance.dialects.blackpearl import markup
from entrance.dialects.blackpearl.answers import ROOT, answer, request_number
from entrance.web.errors import HttpError, NoRoute, WrongMethod

_NOT_SERVED = re.compile(
    r"bucket|object|data_policy|job_chunk|job_chunk_dao|job_creation_failed|node|tape.*|pool.*|storage_domain.*|"
    r"(azure|ds3|s3)_target.*|.*replication.*|user.*|group.*|.*_acl|.*notification_registration|.*physical_placement.*"
)
"""Resources of the public API that are not served here (the contract, chapter 10, and the bulk transfer of chapter 9)."""


class SignatureRefused(EntranceError):
    """The signature does not open this door. ``word`` is the error's name in S3's vocabulary."""

    code = "signature_refused"
    http_status = 403

    def __init__(self, word: str, message: str) -> None:
        self.word = word
        super().__init__(message)


class NotServed(EntranceError):
    """This request is not served here."""

    code = "not_served"
    http_status = 501


def render_error(error: EntranceError) -> Response:
    """Return the answer that tells the client of an error."""
    if isinstance(error, NoRoute) and _NOT_SERVED.fullmatch(_resource()):
        error = NotServed()
    status, word = _status_and_word(error)
    message = str(error)
    if isinstance(error, TaskEnded):
        message = "The job is no longer in progress."
    told: dict[str, markup.Value] = {
        "Code": word,
        "HttpErrorCode": status,
        "Message": " ".join(message.split()) or word,
        "Resource": request.path,
        "ResourceId": request_number(),
    }
    return answer(markup.element("Error", markup.fields(told)), status)


def _status_and_word(error: EntranceError) -> tuple[int, str]:
    match error:
        case SignatureRefused(word=word):
            return 403, word
        case NotLoggedIn() | Forbidden():
            return 403, "AccessDenied"
        case NotServed():
            return 501, "NotImplemented"
        case NotFound() | TaskEnded():
            return 404, "NotFound"
        case WrongMethod():
            return 405, "MethodNotAllowed"
        case TooLarge():
            return 413, "EntityTooLarge"
        case BadInput():
            return 400, "BadRequest"
        case Conflict():
            return 409, "Conflict"
        case Draining() | Closing():
            return 503, "ServiceUnavailable"
        case HttpError(http_status=status) if status < 500:
            return status, "BadRequest"
        case _:
            return 500, "InternalError"


def _resource() -> str:
    return request.path[len(ROOT) :].strip("/").partition("/")[0]
