"""The catalogue: what is known of the data. Storages, preparations, jobs, files, ranges, directories, CARs.

``Catalogue`` has the verbs, ``values`` what they return, ``statements`` the SQL. Tasks open it read-only and hand their rows
to the one writer; the service uses the verbs that change something inside its own transactions.
"""

from common.db.catalogue.store import PAGE_ROWS, Catalogue, open_readonly
from common.db.catalogue.values import (
    Attachment,
    Car,
    Child,
    Directory,
    File,
    FileRange,
    Job,
    JobRange,
    PackedFile,
    Preparation,
    RangeCid,
    StorageRecord,
    job_state,
)

__all__ = [
    "PAGE_ROWS",
    "Attachment",
    "Car",
    "Catalogue",
    "Child",
    "Directory",
    "File",
    "FileRange",
    "Job",
    "JobRange",
    "PackedFile",
    "Preparation",
    "RangeCid",
    "StorageRecord",
    "job_state",
    "open_readonly",
]
