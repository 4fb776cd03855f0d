"""All tables, as SQLAlchemy Core. Times are integer milliseconds since 1970, truth values 0 or 1, JSON is text.

What changes often (progress, checkpoint) and what is large (submission, log, result, samples) lies in tables of its own, so
that a row of ``tasks`` stays small and lists stay quick. The schema itself is made by ``migrations``; a test holds the two
against each other.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite's own row id is an INTEGER
Int = BigInteger().with_variant(Integer, "sqlite")

# ---- the service ---------------------------------------------------------------------------------------------------

meta = Table("meta", metadata, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

counters = Table(  # the next free id of each table whose ids are handed out in ranges
    "counters", metadata, Column("name", Text, primary_key=True), Column("next", Int, nullable=False)
)

# ---- accounts ------------------------------------------------------------------------------------------------------

users = Table(
    "users",
    metadata,
    Column("name", Text, primary_key=True),  # lower case
    Column("password_hash", Text, nullable=False),
    Column("admin", Integer, nullable=False),
    Column("created_at", Int, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("sha256", Text, nullable=False, unique=True),
    Column("user", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("prefix", Text, nullable=False),  # first characters, to tell tokens apart in lists
    Column("created_at", Int, nullable=False),
    Column("expires_at", Int),
)

sessions = Table(
    "sessions",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("user", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("created_at", Int, nullable=False),
    Column("used_at", Int, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("access_id", Text, primary_key=True),
    Column("secret", LargeBinary, nullable=False),  # encrypted: signatures need the clear text
    Column("user", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("created_at", Int, nullable=False),
)

roots = Table(  # local folders that storages may lie in
    "roots",
    metadata,
    Column("path", Text, primary_key=True),
    Column("preparation_id", Int),  # set: allowed for this preparation only
    Column("created_at", Int, nullable=False),
)

# ---- tasks ---------------------------------------------------------------------------------------------------------

tasks = Table(
    "tasks",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("uuid", Text, nullable=False, unique=True),
    Column("exec_id", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("execute_user", Text, nullable=False),
    Column("creator", Text, nullable=False),
    Column("executor", Text, nullable=False),
    Column("run_type", Text, nullable=False),
    Column("door", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("cores", Float, nullable=False),
    Column("state", Text, nullable=False),
    Column("pause_requested", Integer, nullable=False),
    Column("waits", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("errors", Integer, nullable=False),
    Column("max_retries", Integer, nullable=False),
    Column("retry_delay_ms", Int),
    Column("retry_at", Int),
    Column("running_timeout_s", Int),
    Column("queuing_timeout_s", Int),
    Column("parent_id", Int),
    Column("child_key", Text),
    Column("job_id", Int),
    Column("created_at", Int, nullable=False),
    Column("queued_at", Int),
    Column("started_at", Int),
    Column("ended_at", Int),
    Column("updated_at", Int, nullable=False),
    Column("reason", Text),
    UniqueConstraint("parent_id", "child_key"),
    sqlite_autoincrement=True,  # ids are never used again
)
Index("ix_tasks_user_id", tasks.c.user, tasks.c.id)
Index("ix_tasks_state_id", tasks.c.state, tasks.c.id)
Index("ix_tasks_executor_id", tasks.c.executor, tasks.c.id)
Index("ix_tasks_creator_id", tasks.c.creator, tasks.c.id)
Index(  # lists of ended tasks in the order of their ends, as BlackPearl has them, read no rows of tasks either
    "ix_tasks_ended_at",
    *(tasks.c[n] for n in ("ended_at", "id", "state", "user", "execute_user", "priority", "executor")),
    sqlite_where=tasks.c.ended_at.is_not(None),
)
Index("ix_tasks_proxied", tasks.c.execute_user, sqlite_where=tasks.c.execute_user != tasks.c.user)
Index(  # all that a list can be narrowed by, for walks that read no rows of tasks
    "ix_tasks_list",
    *(tasks.c[n] for n in ("id", "user", "state", "attempt", "creator", "executor", "created_at", "parent_id")),
)
Index(
    "ix_tasks_reason",
    *(tasks.c[n] for n in ("reason", "user", "state", "attempt", "creator", "executor", "created_at", "parent_id")),
    sqlite_where=tasks.c.reason.is_not(None),
)
Index("ix_tasks_job_id", tasks.c.job_id, tasks.c.id, sqlite_where=tasks.c.job_id.is_not(None))

task_counts = Table(  # how many tasks there are of each kind; kept by triggers on tasks (migration 0003)
    "task_counts",
    metadata,
    Column("part", Int, primary_key=True, autoincrement=False),  # of the ids: 131,072 of them each
    Column("user", Text, primary_key=True),
    Column("creator", Text, primary_key=True),
    Column("executor", Text, primary_key=True),
    Column("state", Text, primary_key=True),
    Column("ran", Integer, primary_key=True, autoincrement=False),  # whether a worker ever had it
    Column("top", Integer, primary_key=True, autoincrement=False),  # whether it is no child
    Column("n", Int, nullable=False),
    sqlite_with_rowid=False,
)

task_spans = Table(  # between which dates the tasks of a part of the ids were created; kept by triggers (migration 0005)
    "task_spans",
    metadata,
    Column("part", Int, primary_key=True, autoincrement=False),
    Column("oldest", Int, nullable=False),  # in 65,536 ms since 1970, no later than the first
    Column("newest", Int, nullable=False),
)

end_counts = Table(  # how many tasks ended when; without those struck from lists; kept by triggers (migration 0008)
    "end_counts",
    metadata,
    Column("part", Int, primary_key=True, autoincrement=False),  # of time: 2^24 ms, four and a half hours each
    Column("state", Text, primary_key=True),
    Column("user", Text, primary_key=True),
    Column("kind", Text, primary_key=True),  # as BlackPearl has it: PUT, GET, VERIFY
    Column("level", Integer, primary_key=True, autoincrement=False),  # of the priority
    Column("n", Int, nullable=False),
    sqlite_with_rowid=False,
)

transfer_counts = Table(  # how many transfers of each kind were made when; kept by triggers (migration 0007)
    "transfer_counts",
    metadata,
    Column("data_space", Text, primary_key=True),
    Column("part", Int, primary_key=True, autoincrement=False),  # of time: 2^24 ms each
    Column("way", Text, primary_key=True),
    Column("user", Text, primary_key=True),
    Column("state", Text, primary_key=True),
    Column("ran", Integer, primary_key=True, autoincrement=False),
    Column("n", Int, nullable=False),
    sqlite_with_rowid=False,
)

submissions = Table(  # what was sent, and what the executor gets of it
    "submissions",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("code", Text, nullable=False),  # as sent
    Column("params", Text, nullable=False),  # JSON: the executor's parameters after its schema
    Column("settings", Text, nullable=False),  # JSON: Linkis' ``params``
    Column("source", Text, nullable=False),  # JSON: where it came from
    Column("labels", Text, nullable=False),  # JSON: [[key, value], ...] in the order given
)

progress = Table(  # last report of the latest attempt that made one
    "progress",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("done", Int, nullable=False),
    Column("total", Int, nullable=False),
    Column("bytes_done", Int, nullable=False),
    Column("bytes_total", Int, nullable=False),
    Column("files_done", Int, nullable=False),
    Column("files_total", Int, nullable=False),
    Column("stages", Text, nullable=False),  # JSON
    Column("checkpoint", LargeBinary),
    Column("merged", Integer, nullable=False),  # slices of the current attempt that are stored
    Column("updated_at", Int, nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("started_at", Int, nullable=False),
    Column("ended_at", Int),
    Column("ending", Text),
    Column("reason", Text),
    Column("done_at_start", Int, nullable=False),
    Column("done_at_end", Int),
    Column("max_rss_bytes", Int),
    Column("cpu_seconds", Float),
)

history = Table(  # every change of state
    "history",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("task_id", Id, ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("at", Int, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("who", Text),
)

logs = Table(  # ended logs that are small, and the last lines of those that are not
    "logs",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("offset", Int, nullable=False),  # where the body belongs in the file; 0 = it is the whole log
    Column("lines", Int, nullable=False),  # lines of the whole log
    Column("body", LargeBinary, nullable=False),  # zlib
)
Index("ix_logs_unsettled", logs.c.task_id, sqlite_where=text('"offset" > 0 AND length(body) > 0'))

results = Table(
    "results",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("rows", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),  # zlib of JSON [[cell, ...], ...]
)

samples = Table(  # ring of at most 720 resource samples
    "samples",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)

owned = Table(  # what an unfinished task may have created outside
    "owned",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("attempt", Integer, nullable=False),
)

publishing = Table(  # committed renames that are not yet carried out
    "publishing",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("task_id", Int, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("temporary", Text, nullable=False),
    Column("final", Text, nullable=False),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("user", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("task_id", Int, nullable=False),
    Column("at", Int, nullable=False),
)

# ---- beside the tasks: what single dialects show -------------------------------------------------------------------

shown_jobs = Table(  # what a BlackPearl client has set of a job; no row: nothing
    "shown_jobs",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("name", Text),
    Column("created_at", Int),  # what is shown; the task's own counts for its turn
    Column("protected", Integer, nullable=False),
    Column("dead_job_cleanup_allowed", Integer, nullable=False),
    Column("forgotten", Integer, nullable=False),  # struck from the lists of ended jobs
)
Index("ix_shown_jobs_forgotten", shown_jobs.c.task_id, sqlite_where=shown_jobs.c.forgotten == 1)

transfers = Table(  # what lists of transfers are filtered by; written with the task
    "transfers",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("data_space", Text, nullable=False),
    Column("way", Text, nullable=False),  # out, in, within: as seen from our own (local) side
    Column("bucket", Text, nullable=False),  # of the store side
    Column("repo_id", Text, nullable=False),
    Column("repo_name", Text, nullable=False),
    Column("repo_name_folded", Text, nullable=False),  # for searches that ignore letter case
    Column("created_at", Int, nullable=False),  # of the task
)
Index(  # all that a list can be narrowed by
    "ix_transfers_list", *(transfers.c[n] for n in ("data_space", "created_at", "repo_id", "repo_name_folded", "way"))
)

transfer_files = Table(  # what became of each file of a transfer
    "transfer_files",
    metadata,
    Column("task_id", Id, ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("path", Text, primary_key=True),  # relative to the path read from
    Column("size", Int, nullable=False),
    Column("state", Text, nullable=False),  # pending, succeeded, failed, unchanged (succeeded without being copied)
    Column("fault", Text, nullable=False),  # of a failed one: store, format, forbidden, not_found, other; else ""
    sqlite_with_rowid=False,
)
Index(
    "ix_transfer_files_failed",
    transfer_files.c.task_id,
    transfer_files.c.path,
    sqlite_where=transfer_files.c.state == "failed",
)

# ---- the catalogue -------------------------------------------------------------------------------------------------
#
# Tasks hand these rows over in bulk, and the writer merges them as INSERT OR REPLACE of whole rows. So there are no foreign
# keys here (a replaced row would take its children along), and what becomes known later lies beside the row it speaks of:
#
#     files <- file_cids         ranges <- range_cids         directories <- directory_nodes
#
# What a pack or daggen says of CIDs carries the id of the CAR that it makes, and is true once that row of ``cars`` is there.

storages = Table(
    "storages",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
    Column("user", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("config", Text, nullable=False),  # JSON: text to text, without secrets
    Column("client_config", Text, nullable=False),  # JSON
    Column("secrets", LargeBinary),  # encrypted JSON: the secret part of config
    Column("created_at", Int, nullable=False),
    Column("updated_at", Int, nullable=False),
)

preparations = Table(
    "preparations",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
    Column("user", Text, nullable=False),
    Column("max_size", Int, nullable=False),
    Column("piece_size", Int, nullable=False),
    Column("min_piece_size", Int, nullable=False),
    Column("delete_after_export", Integer, nullable=False),
    Column("no_inline", Integer, nullable=False),
    Column("no_dag", Integer, nullable=False),
    Column("profile", Text, nullable=False),  # JSON: every setting that changes a CID
    Column("created_at", Int, nullable=False),
    Column("updated_at", Int, nullable=False),
)

outputs = Table(
    "outputs",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("preparation_id", Int, nullable=False),
    Column("storage_id", Int, nullable=False, index=True),
    UniqueConstraint("preparation_id", "storage_id"),
)

attachments = Table(  # a storage as a source of a preparation
    "attachments",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("preparation_id", Int, nullable=False),
    Column("storage_id", Int, nullable=False, index=True),
    UniqueConstraint("preparation_id", "storage_id"),
)

jobs = Table(  # its state is that of the last task that has its id
    "jobs",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("attachment_id", Int, nullable=False),
    Column("type", Text, nullable=False),  # scan, pack, daggen
    Column("filling", Integer, nullable=False),  # a pack that the push API still adds ranges to
    Column("follow", Integer, nullable=False),  # a task is queued for it without anyone asking
    Column("created_at", Int, nullable=False),
)
Index("ix_jobs_attachment_id_type", jobs.c.attachment_id, jobs.c.type, jobs.c.id)

groups = Table(  # packs that a scan is still filling: while ``open``, their ranges belong to no job
    "groups",
    metadata,
    Column("job_id", Id, primary_key=True, autoincrement=False),
    Column("attachment_id", Int, nullable=False),
    Column("open", Integer, nullable=False),
)
Index("ix_groups_open", groups.c.attachment_id, sqlite_where=groups.c.open == 1)

directories = Table(
    "directories",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("attachment_id", Int, nullable=False),
    Column("parent_id", Int),  # NULL: the root
    Column("name", Text, nullable=False),
    Column("path", Text, nullable=False),  # "" for the root
    Column("raw_path", LargeBinary),  # the path's bytes where they are not the UTF-8 of ``path``
)
Index("uq_directories_place", directories.c.parent_id, directories.c.name, unique=True)
Index("ix_directories_attachment_id", directories.c.attachment_id, directories.c.id)

walk = Table(  # folders in the order in which the latest scan visits them, and which task it is
    "walk",
    metadata,
    Column("attachment_id", Int, primary_key=True, autoincrement=False),
    Column("position", Int, primary_key=True, autoincrement=False),
    Column("task_id", Int, nullable=False),
    Column("directory_id", Int, nullable=False),
    sqlite_with_rowid=False,
)

files = Table(  # one row per version
    "files",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("attachment_id", Int, nullable=False),
    Column("directory_id", Int, nullable=False),
    Column("name", Text, nullable=False),
    Column("raw_name", LargeBinary),  # the name's bytes where they are not the UTF-8 of ``name``
    Column("size", Int, nullable=False),
    Column("modified_ns", Int, nullable=False),
    Column("hash", Text, nullable=False),
)
Index("ix_files_place", files.c.directory_id, files.c.name, files.c.id)

ranges = Table(
    "ranges",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("attachment_id", Int, nullable=False),
    Column("file_id", Int, nullable=False),
    Column("offset", Int, nullable=False),
    Column("length", Int, nullable=False),
    Column("job_id", Int),
)
Index("ix_ranges_file_id", ranges.c.file_id, ranges.c.offset)
Index("ix_ranges_job_id", ranges.c.job_id, ranges.c.id, sqlite_where=ranges.c.job_id.is_not(None))
Index("ix_ranges_free", ranges.c.attachment_id, ranges.c.id, sqlite_where=ranges.c.job_id.is_(None))

range_cids = Table(
    "range_cids",
    metadata,
    Column("range_id", Id, primary_key=True, autoincrement=False),
    Column("car_id", Int, nullable=False),
    Column("cid", LargeBinary, nullable=False),  # empty: the range is no tree of its own
    Column("tops", LargeBinary),  # what is left of it for the tree over the whole file
)

file_cids = Table(
    "file_cids",
    metadata,
    Column("file_id", Id, primary_key=True, autoincrement=False),
    Column("car_id", Int, nullable=False),  # of the pack that completed it
    Column("cid", LargeBinary, nullable=False),
    Column("tsize", Int, nullable=False),
)

spanning = Table(  # files that a CAR holds a part of only
    "spanning",
    metadata,
    Column("car_id", Int, primary_key=True, autoincrement=False),
    Column("file_id", Int, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

skipped = Table(  # ranges that a pack left out because their file could not be opened
    "skipped",
    metadata,
    Column("range_id", Id, primary_key=True, autoincrement=False),
    Column("car_id", Int, nullable=False),
)

directory_nodes = Table(  # of each DAG CAR that holds the directory, and of those that did not come to be: the latest counts
    "directory_nodes",
    metadata,
    Column("directory_id", Int, primary_key=True, autoincrement=False),
    Column("car_id", Int, primary_key=True, autoincrement=False),
    Column("cid", LargeBinary, nullable=False),
    Column("tsize", Int, nullable=False),
    sqlite_with_rowid=False,
)

cars = Table(
    "cars",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("type", Text, nullable=False),  # data, dag
    Column("piece_cid", LargeBinary, nullable=False),
    Column("piece_cid_v2", LargeBinary, nullable=False),
    Column("piece_size", Int, nullable=False),
    Column("root_cid", LargeBinary, nullable=False),
    Column("car_size", Int, nullable=False),  # without zeros at the end
    Column("file_size", Int, nullable=False),
    Column("virtual_padding", Int, nullable=False),  # zeros at the end that are only served
    Column("storage_id", Int),  # NULL: no CAR file
    Column("storage_path", Text, nullable=False),
    Column("files", Int, nullable=False),
    Column("blocks", Int, nullable=False),
    Column("preparation_id", Int, nullable=False),
    Column("attachment_id", Int),
    Column("job_id", Int),
    Column("task_id", Int),
    Column("created_at", Int, nullable=False),
)
Index("ix_cars_piece_cid", cars.c.piece_cid)
Index("ix_cars_preparation_id", cars.c.preparation_id, cars.c.attachment_id, cars.c.id)
Index("ix_cars_job_id", cars.c.job_id, sqlite_where=cars.c.job_id.is_not(None))
Index("ix_cars_task_id", cars.c.task_id, sqlite_where=cars.c.task_id.is_not(None))

exported = Table(  # data CARs whose directories have gone into a DAG CAR
    "exported",
    metadata,
    Column("car_id", Id, primary_key=True, autoincrement=False),
    Column("attachment_id", Int, nullable=False, index=True),
    Column("dag_car_id", Int, nullable=False),
)

scans = Table(  # what each scan task registered, batch by batch: so many files from a first id on
    "scans",
    metadata,
    Column("task_id", Int, primary_key=True, autoincrement=False),
    Column("before", Int, primary_key=True, autoincrement=False),  # files of the batches before this one
    Column("attachment_id", Int, nullable=False),
    Column("first_file_id", Int, nullable=False),
    Column("files", Int, nullable=False),
    sqlite_with_rowid=False,
)

faults = Table(  # what verify tasks found
    "faults",
    metadata,
    Column("task_id", Int, primary_key=True, autoincrement=False),
    Column("number", Int, primary_key=True, autoincrement=False),
    Column("object", Text, nullable=False),
    Column("offset", Int, nullable=False),
    Column("expected", Text, nullable=False),
    Column("found", Text, nullable=False),
    Column("message", Text, nullable=False),
    sqlite_with_rowid=False,
)
