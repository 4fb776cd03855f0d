"""The way from a request to the services behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from entrance.core.data import DataService
from entrance.core.jobs import JobService
from entrance.core.keeping import KeepService
from entrance.core.pieces import PieceService
from entrance.core.pushing import PushService
from entrance.core.setup import Services, services_of
from entrance.web.state import the_core

if TYPE_CHECKING:
    from entrance.core.content import ContentService


def the_services() -> Services:
    """Return the services of the catalogue."""
    return services_of(the_core())


def the_data() -> DataService:
    return the_services().data


def the_jobs() -> JobService:
    return the_services().jobs


def the_push() -> PushService:
    return the_services().push


def the_keep() -> KeepService:
    return the_services().keep


def the_pieces() -> PieceService:
    return the_services().pieces


def the_content() -> ContentService:
    return the_services().content
