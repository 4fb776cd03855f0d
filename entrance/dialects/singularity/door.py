"""The way from a request to the data that it speaks of."""

from __future__ import annotations

from entrance.core.data import DataService
from entrance.web.state import the_core


def the_data() -> DataService:
    """Return the door to storages, preparations and pieces."""
    core = the_core()
    return DataService(readers=core.readers, writer=core.writer, clock=core.clock, offload=core.offload)
