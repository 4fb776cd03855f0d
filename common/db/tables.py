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
Index("ix_tasks_created_at", tasks.c.created_at)
Index("ix_tasks_ended_at", tasks.c.ended_at)
Index("ix_tasks_job_id", tasks.c.job_id, tasks.c.id, sqlite_where=tasks.c.job_id.is_not(None))

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
