"""The statements of the catalogue, compiled once. Named for what they find; ``store`` says what they mean."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, case, delete, exists, func, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from common.db import tables as t
from common.db.sql import Sql, param
from common.task import FINAL, OPEN, State


def _insert(table: Any) -> Sql:
    return Sql(insert(table).values({c.name: param(c.name) for c in table.c}))


_LIMIT = param("limit")
_CAR_THERE = select(t.cars.c.id)
_DAG_CAR = t.cars.alias("dag")
STORAGE = select(t.storages)
STORAGE_BY_ID = Sql(STORAGE.where(t.storages.c.id == param("id")))
STORAGE_BY_NAME = Sql(STORAGE.where(t.storages.c.name == param("name")))
STORAGES = Sql(STORAGE.order_by(t.storages.c.id))
OUTPUTS = Sql(
    select(t.storages)
    .join(t.outputs, t.outputs.c.storage_id == t.storages.c.id)
    .where(t.outputs.c.preparation_id == param("preparation_id"))
    .order_by(t.outputs.c.id)
)
PREPARATION = select(t.preparations)
PREPARATION_BY_ID = Sql(PREPARATION.where(t.preparations.c.id == param("id")))
PREPARATION_BY_NAME = Sql(PREPARATION.where(t.preparations.c.name == param("name")))
PREPARATIONS = Sql(PREPARATION.order_by(t.preparations.c.id))
ATTACHMENT = Sql(select(t.attachments).where(t.attachments.c.id == param("id")))
ATTACHMENT_OF = Sql(
    select(t.attachments).where(
        t.attachments.c.preparation_id == param("preparation_id"), t.attachments.c.storage_id == param("storage_id")
    )
)
ATTACHMENTS = Sql(
    select(t.attachments).where(t.attachments.c.preparation_id == param("preparation_id")).order_by(t.attachments.c.id)
)
_OF_JOB = t.tasks.alias("of_job")
LAST_TASK = select(func.max(_OF_JOB.c.id)).where(_OF_JOB.c.job_id == t.jobs.c.id).scalar_subquery()
JOB = (
    select(t.jobs, t.tasks.c.id, t.tasks.c.state, t.tasks.c.pause_requested, t.tasks.c.reason)
    .select_from(t.jobs)
    .outerjoin(t.tasks, t.tasks.c.id == LAST_TASK)
)
JOB_BY_ID = Sql(JOB.where(t.jobs.c.id == param("id")))
JOBS = Sql(
    JOB.where(t.jobs.c.attachment_id == param("attachment_id"), t.jobs.c.id > param("after"))
    .order_by(t.jobs.c.id)
    .limit(_LIMIT)
)
JOBS_OF_TYPE = Sql(
    JOB.where(t.jobs.c.attachment_id == param("attachment_id"), t.jobs.c.type == param("type"), t.jobs.c.id > param("after"))
    .order_by(t.jobs.c.id)
    .limit(_LIMIT)
)
OPEN_GROUPS = Sql(select(t.groups.c.job_id).where(t.groups.c.attachment_id == param("attachment_id"), t.groups.c.open == 1))
DIRECTORY = select(t.directories)
DIRECTORY_BY_ID = Sql(DIRECTORY.where(t.directories.c.id == param("id")))
_IDS = select(func.json_each(param("ids")).table_valued("value").c.value)  # a JSON list
DIRECTORIES_BY_ID = Sql(DIRECTORY.where(t.directories.c.id.in_(_IDS)))
ROOT = Sql(
    DIRECTORY.where(t.directories.c.attachment_id == param("attachment_id"), t.directories.c.parent_id.is_(None))
    .order_by(t.directories.c.id)
    .limit(1)
)
SUBDIRECTORY = Sql(DIRECTORY.where(t.directories.c.parent_id == param("parent_id"), t.directories.c.name == param("name")))
DIRECTORIES = Sql(
    DIRECTORY.where(t.directories.c.attachment_id == param("attachment_id"), t.directories.c.id > param("after"))
    .order_by(t.directories.c.id)
    .limit(_LIMIT)
)
_NODE = t.directory_nodes.alias("node")
_LATEST_NODE = (  # of a directory: of the last DAG CAR that is there
    select(func.max(_NODE.c.car_id))
    .join(t.cars, t.cars.c.id == _NODE.c.car_id)
    .where(_NODE.c.directory_id == t.directories.c.id)
    .correlate(t.directories)
    .scalar_subquery()
)
_CHILD = (t.directories.c.id, t.directories.c.name, t.directory_nodes.c.cid, t.directory_nodes.c.tsize)
_WITH_NODES = t.directories.outerjoin(
    t.directory_nodes,
    and_(t.directory_nodes.c.directory_id == t.directories.c.id, t.directory_nodes.c.car_id == _LATEST_NODE),
)
CHILDREN = Sql(
    select(*_CHILD)
    .select_from(_WITH_NODES)
    .where(t.directories.c.parent_id == param("parent_id"), t.directories.c.name > param("after"))
    .order_by(t.directories.c.name)
    .limit(_LIMIT)
)
CHILDREN_IN = Sql(
    select(t.directories.c.parent_id, *_CHILD)
    .select_from(_WITH_NODES)
    .where(t.directories.c.parent_id.in_(_IDS))
    .order_by(t.directories.c.parent_id, t.directories.c.name)
    .limit(_LIMIT)
)
WALK = Sql(
    select(t.walk.c.position, *t.directories.c)
    .join(t.directories, t.directories.c.id == t.walk.c.directory_id)
    .where(
        t.walk.c.attachment_id == param("attachment_id"),
        t.walk.c.position >= param("position"),
        t.walk.c.task_id == param("task_id"),
    )
    .order_by(t.walk.c.position)
    .limit(_LIMIT)
)
FILE = Sql(select(t.files).where(t.files.c.id == param("id")))
VERSIONS = Sql(
    select(t.files)
    .where(
        t.files.c.directory_id == param("directory_id"),
        or_(
            t.files.c.name > param("after"),
            and_(t.files.c.name == param("after"), t.files.c.id > param("after_id")),
        ),
    )
    .order_by(t.files.c.name, t.files.c.id)
    .limit(_LIMIT)
)
SCANNED = Sql(
    select(
        case((t.directories.c.path == "", t.files.c.name), else_=t.directories.c.path + "/" + t.files.c.name),
        t.files.c.size,
        t.files.c.modified_ns,
        t.files.c.hash,
        func.count(t.ranges.c.id),
    )
    .join(t.directories, t.directories.c.id == t.files.c.directory_id)
    .join(t.ranges, t.ranges.c.file_id == t.files.c.id)
    .where(t.files.c.id >= param("first"), t.files.c.id < param("end"))
    .group_by(t.files.c.id)
    .order_by(t.files.c.id)
)
LOOSE_RANGES = Sql(
    select(t.ranges)
    .where(
        t.ranges.c.attachment_id == param("attachment_id"),
        t.ranges.c.job_id.is_(None),
        t.ranges.c.id > param("after"),
    )
    .order_by(t.ranges.c.id)
    .limit(_LIMIT)
)
PLAIN_JOB_RANGES = Sql(
    select(t.ranges)
    .where(t.ranges.c.job_id == param("job_id"), t.ranges.c.id > param("after"))
    .order_by(t.ranges.c.id)
    .limit(_LIMIT)
)
JOB_RANGES = Sql(
    select(
        t.ranges.c.id,
        t.ranges.c.offset,
        t.ranges.c.length,
        t.files.c.id,
        t.files.c.size,
        t.files.c.modified_ns,
        t.files.c.hash,
        t.files.c.directory_id,
        t.files.c.name,
        t.files.c.raw_name,
        t.directories.c.path,
        t.directories.c.raw_path,
    )
    .join(t.files, t.files.c.id == t.ranges.c.file_id)
    .join(t.directories, t.directories.c.id == t.files.c.directory_id)
    .where(t.ranges.c.job_id == param("job_id"), t.ranges.c.id > param("after"))
    .order_by(t.ranges.c.id)
    .limit(_LIMIT)
)
JOB_TOTALS = Sql(
    select(func.count(), func.coalesce(func.sum(t.ranges.c.length), 0)).where(t.ranges.c.job_id == param("job_id"))
)
SKIPPED = Sql(
    select(t.skipped.c.range_id)
    .where(t.skipped.c.car_id == param("car_id"), t.skipped.c.range_id > param("after"))
    .order_by(t.skipped.c.range_id)
    .limit(_LIMIT)
)
RANGE_CIDS = Sql(
    select(t.ranges.c.id, t.ranges.c.offset, t.ranges.c.length, t.range_cids.c.cid, t.range_cids.c.tops)
    .select_from(t.ranges)
    .outerjoin(
        t.range_cids,
        and_(
            t.range_cids.c.range_id == t.ranges.c.id,
            exists(_CAR_THERE.where(t.cars.c.id == t.range_cids.c.car_id)),
        ),
    )
    .where(t.ranges.c.file_id == param("file_id"), t.ranges.c.offset > param("after"))
    .order_by(t.ranges.c.offset)
    .limit(_LIMIT)
)
LAST_RANGE = Sql(
    select(t.ranges.c.offset + t.ranges.c.length)
    .where(t.ranges.c.file_id == param("file_id"))
    .order_by(t.ranges.c.offset.desc())
    .limit(1)
)
NAMED_RANGES = Sql(
    select(t.ranges.c.id, t.range_cids.c.cid)
    .join(t.range_cids, t.range_cids.c.range_id == t.ranges.c.id)
    .where(
        t.ranges.c.job_id == param("job_id"),
        t.ranges.c.id > param("after"),
        t.range_cids.c.car_id == param("car_id"),
    )
    .order_by(t.ranges.c.id)
    .limit(_LIMIT)
)
SPANNING = Sql(select(t.spanning.c.file_id).where(t.spanning.c.car_id == param("car_id")).order_by(t.spanning.c.file_id))
_PACKED_FILE = (
    t.files.c.id,
    t.files.c.name,
    t.files.c.size,
    t.file_cids.c.cid,
    t.file_cids.c.tsize,
    t.file_cids.c.car_id,
)
PACKED_FILES_IN = Sql(
    select(t.files.c.directory_id, *_PACKED_FILE)
    .join(t.file_cids, t.file_cids.c.file_id == t.files.c.id)
    .where(t.files.c.directory_id.in_(_IDS), exists(_CAR_THERE.where(t.cars.c.id == t.file_cids.c.car_id)))
    .order_by(t.files.c.directory_id, t.files.c.name, t.files.c.id)
    .limit(_LIMIT)
)
PACKED_FILES = Sql(
    select(*_PACKED_FILE)
    .join(t.file_cids, t.file_cids.c.file_id == t.files.c.id)
    .where(
        t.files.c.directory_id == param("directory_id"),
        or_(
            t.files.c.name > param("after"),
            and_(t.files.c.name == param("after"), t.files.c.id > param("after_id")),
        ),
        exists(_CAR_THERE.where(t.cars.c.id == t.file_cids.c.car_id)),
    )
    .order_by(t.files.c.name, t.files.c.id)
    .limit(_LIMIT)
)
FILE_CID = Sql(
    select(t.file_cids.c.cid).where(
        t.file_cids.c.file_id == param("file_id"), exists(_CAR_THERE.where(t.cars.c.id == t.file_cids.c.car_id))
    )
)
TOUCHED = Sql(
    select(t.ranges.c.id, t.files.c.directory_id)
    .join(t.file_cids, t.file_cids.c.file_id == t.ranges.c.file_id)
    .join(t.files, t.files.c.id == t.ranges.c.file_id)
    .where(
        t.ranges.c.job_id == param("job_id"),
        t.ranges.c.id > param("after"),
        t.file_cids.c.car_id == param("car_id"),
    )
    .order_by(t.ranges.c.id)
    .limit(_LIMIT)
)
UNBUILT = Sql(
    DIRECTORY.where(
        t.directories.c.attachment_id == param("attachment_id"),
        t.directories.c.id > param("after"),
        ~exists(
            select(t.directory_nodes.c.directory_id)
            .join(t.cars, t.cars.c.id == t.directory_nodes.c.car_id)
            .where(t.directory_nodes.c.directory_id == t.directories.c.id)
        ),
    )
    .order_by(t.directories.c.id)
    .limit(_LIMIT)
)
DIRECTORY_NODE = Sql(
    select(t.directory_nodes.c.cid, t.directory_nodes.c.tsize)
    .where(
        t.directory_nodes.c.directory_id == param("directory_id"),
        exists(_CAR_THERE.where(t.cars.c.id == t.directory_nodes.c.car_id)),
    )
    .order_by(t.directory_nodes.c.car_id.desc())
    .limit(1)
)
CAR = select(t.cars)
CAR_BY_ID = Sql(CAR.where(t.cars.c.id == param("id")))
CARS_OF_JOB = Sql(CAR.where(t.cars.c.job_id == param("job_id")).order_by(t.cars.c.id))
CARS_OF_TASK = Sql(CAR.where(t.cars.c.task_id == param("task_id")).order_by(t.cars.c.id))
CARS_OF_PIECE = Sql(CAR.where(t.cars.c.piece_cid == param("piece_cid")).order_by(t.cars.c.id))
CARS = Sql(
    CAR.where(t.cars.c.preparation_id == param("preparation_id"), t.cars.c.id > param("after"))
    .order_by(t.cars.c.id)
    .limit(_LIMIT)
)
UNEXPORTED = Sql(
    CAR.where(
        t.cars.c.preparation_id == param("preparation_id"),
        t.cars.c.attachment_id == param("attachment_id"),
        t.cars.c.type == "data",
        t.cars.c.id > param("after"),
        ~exists(
            select(t.exported.c.car_id)
            .join(_DAG_CAR, _DAG_CAR.c.id == t.exported.c.dag_car_id)
            .where(t.exported.c.car_id == t.cars.c.id)
        ),
    )
    .order_by(t.cars.c.id)
    .limit(_LIMIT)
)
CAR_IDS = Sql(
    select(t.cars.c.id)
    .where(
        t.cars.c.preparation_id == param("preparation_id"),
        t.cars.c.attachment_id == param("attachment_id"),
        t.cars.c.type == "data",
        t.cars.c.id > param("after"),
    )
    .order_by(t.cars.c.id)
    .limit(_LIMIT)
)
FAULTS = Sql(
    select(t.faults.c.object, t.faults.c.offset, t.faults.c.expected, t.faults.c.found, t.faults.c.message)
    .where(t.faults.c.task_id == param("task_id"), t.faults.c.number >= param("first"))
    .order_by(t.faults.c.number)
    .limit(_LIMIT)
)
FAULT_COUNT = Sql(select(func.count()).select_from(t.faults).where(t.faults.c.task_id == param("task_id")))
SCAN_COUNT = Sql(
    select(t.scans.c.before + t.scans.c.files)
    .where(t.scans.c.task_id == param("task_id"))
    .order_by(t.scans.c.before.desc())
    .limit(1)
)
_SCAN = t.scans.alias("at")
SCAN_BATCHES = Sql(  # those that hold rows offset .. end
    select(t.scans.c.before, t.scans.c.first_file_id, t.scans.c.files)
    .where(
        t.scans.c.task_id == param("task_id"),
        t.scans.c.before
        >= select(func.max(_SCAN.c.before))
        .where(_SCAN.c.task_id == param("task_id"), _SCAN.c.before <= param("offset"))
        .scalar_subquery(),
        t.scans.c.before < param("end"),
    )
    .order_by(t.scans.c.before)
)
ADD_STORAGE, ADD_PREPARATION = _insert(t.storages), _insert(t.preparations)
ADD_OUTPUT, ADD_ATTACHMENT = _insert(t.outputs), _insert(t.attachments)
ADD_JOB, ADD_DIRECTORY = _insert(t.jobs), _insert(t.directories)

BIND_ROOT = Sql(
    update(t.roots)
    .where(t.roots.c.path == param("root"), t.roots.c.preparation_id == 0)
    .values(preparation_id=param("preparation"))
)
DELETE_CARS_NAMED = Sql(delete(t.cars).where(t.cars.c.task_id == param("task"), t.cars.c.storage_path == param("name")))
FINISH_FILE = Sql(
    upsert(t.file_cids)
    .values({c.name: param(c.name) for c in t.file_cids.c})
    .on_conflict_do_update(index_elements=["file_id"], set_={n: param(n) for n in ("car_id", "cid", "tsize")})
)
TOUCH_JOB = Sql(update(t.jobs).where(t.jobs.c.id == param("job")).values(follow=param("wanted")))
FOLLOWING = Sql(
    select(t.jobs.c.id, t.jobs.c.type, t.jobs.c.attachment_id)
    .where(
        t.jobs.c.follow == 1,
        t.jobs.c.filling == 0,
        t.jobs.c.id > param("after"),
        ~exists(select(t.tasks.c.id).where(t.tasks.c.job_id == t.jobs.c.id)),
    )
    .order_by(t.jobs.c.id)
    .limit(_LIMIT)
)
PREPARATIONS_OF_FOLDER = Sql(
    select(t.preparations.c.id, t.storages.c.id)
    .join(t.attachments, t.attachments.c.preparation_id == t.preparations.c.id)
    .join(t.storages, t.storages.c.id == t.attachments.c.storage_id)
    .where(
        t.storages.c.type == "local",
        t.storages.c.path == param("path"),
        t.preparations.c.user == param("user"),
    )
    .order_by(t.preparations.c.id.desc())
)
STORAGES_OF_FOLDER = Sql(
    STORAGE.where(
        t.storages.c.type == "local", t.storages.c.path == param("path"), t.storages.c.user == param("user")
    ).order_by(t.storages.c.id)
)
WAITING_DAGGENS = Sql(
    select(t.tasks.c.id, t.tasks.c.parent_id)
    .join(t.jobs, t.jobs.c.id == t.tasks.c.job_id)
    .where(
        t.jobs.c.attachment_id == param("attachment_id"),
        t.jobs.c.type == "daggen",
        t.tasks.c.state.in_([State.CREATED.value, State.PAUSED.value]),
        t.tasks.c.queued_at.is_(None),
    )
)
OPEN_SCAN = Sql(
    select(t.tasks.c.id, t.tasks.c.waits)
    .join(t.jobs, t.jobs.c.id == t.tasks.c.job_id)
    .where(
        t.jobs.c.attachment_id == param("attachment_id"),
        t.jobs.c.type == "scan",
        t.tasks.c.state.in_([s.value for s in OPEN]),
    )
)
_LAST = t.tasks.alias("last")
UNFINISHED_PACK = Sql(  # the first pack of a source whose last task did not succeed, if any; failures come first
    select(t.jobs.c.id, _LAST.c.id, _LAST.c.state, _LAST.c.reason)
    .select_from(t.jobs)
    .outerjoin(_LAST, _LAST.c.id == LAST_TASK)
    .where(
        t.jobs.c.attachment_id == param("attachment_id"),
        t.jobs.c.type == "pack",
        or_(_LAST.c.id.is_(None), _LAST.c.state != State.SUCCEEDED.value),
    )
    .order_by(
        case((_LAST.c.state.in_([s.value for s in FINAL]), 0), else_=1),
        t.jobs.c.id,
    )
    .limit(1)
)
