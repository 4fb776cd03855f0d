"""The services around the catalogue, put together from the parts of a running core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from common.clock import Clock
from common.config import Settings
from common.db.database import Readers
from common.db.peek import FILE_NAME
from common.db.writer import Writer
from common.storage.secrets import Secrets
from entrance.core.data import DataService
from entrance.core.events import Bus
from entrance.core.jobs import JobService
from entrance.core.keeping import KeepService
from entrance.core.pieces import PieceService
from entrance.core.pushing import PushService
from entrance.core.service import TaskService

if TYPE_CHECKING:
    from entrance.core.content import ContentService

T = TypeVar("T")


class Parts(Protocol):
    """What of a running core they are made from: the verbs on tasks, its database, its settings and its clock."""

    @property
    def tasks(self) -> TaskService: ...

    @property
    def readers(self) -> Readers: ...

    @property
    def writer(self) -> Writer: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def events(self) -> Bus: ...

    def offload(self, function: Callable[..., T], /, *arguments: Any) -> T:
        """Run what computes or blocks in a native thread and wait for it without holding up anybody else."""
        ...


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything that can be asked of the catalogue, and done to it. Holds no state: cheap to make."""

    data_folder: Path
    data: DataService
    jobs: JobService
    push: PushService
    keep: KeepService
    pieces: PieceService

    @property
    def content(self) -> ContentService:
        """The bytes of pieces and files."""
        # Not before it is asked for: with it comes numpy, which takes a tenth of a start. Not in a native thread either: the
        # locks of the import system are greenlets' here, and a thread and the event loop that meet there may wait for ever.
        from entrance.core.content import ContentService

        return ContentService(data=self.data, database=self.data_folder / FILE_NAME)


def services_of(core: Parts) -> Services:
    """Return the services of a core."""
    folder = core.settings.data_folder
    data = DataService(
        readers=core.readers,
        writer=core.writer,
        clock=core.clock,
        offload=core.offload,
        secrets=lambda: Secrets.of_folder(folder),
        allowed_endpoints=core.settings.storage.allowed_endpoints,
    )
    jobs = JobService(data=data, tasks=core.tasks, events=core.events)
    return Services(
        data_folder=folder,
        data=data,
        jobs=jobs,
        push=PushService(data=data, jobs=jobs),
        keep=KeepService(data=data, steer=core.tasks.steer, data_folder=folder),
        pieces=PieceService(data=data),
    )
