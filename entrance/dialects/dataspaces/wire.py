"""A transfer as the service shows it: every key, always; 64-bit numbers as text; no key of a store, ever."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from common.db.catalogue import StorageRecord
from common.db.transfers import Failures, Transfer, TransferFile, Way
from common.storage.options import DEFAULT_REGION
from common.task import State
from entrance.core.model import TaskProgress
from entrance.dialects.dataspaces.words import FILE_FAULTS, FILE_STATES, TASK_TYPES, TYPES, state_of

Wire = dict[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECRETS = re.compile(
    r"(?i)\b((?:X-Amz-(?:Signature|Credential|Security-Token)|Signature|AWSAccessKeyId)\s*[=:]\s*|Authorization\s*[=:]\s*"
    r"(?:(?:AWS4-HMAC-SHA256|AWS|Bearer|Basic|hmac)\s+)?)[^\s&,;\"']+(?:,\s*\w+=[^\s,]+)*"
)
_SCRUBBED = r"\1***"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A transfer with everything that its entry tells. ``store``: the object store it goes to or comes from."""

    transfer: Transfer
    report: TaskProgress
    failures: Failures
    files: Sequence[TransferFile]
    store: StorageRecord | None


def entry(shown: Shown) -> Wire:
    """Return one element of ``tasks``."""
    transfer, task = shown.transfer, shown.transfer.task
    numbers = shown.report.progress
    ended_well = task.state is State.SUCCEEDED
    count = _Counter.of(numbers.files_total, numbers.files_done, shown.failures.files, ended_well)
    size = _Counter.of(numbers.bytes_total, numbers.bytes_done, shown.failures.size, ended_well)
    return {
        "id": task.uuid,
        "task_type": TASK_TYPES[transfer.way],
        "task_state": int(state_of(task)),
        "target_branch": "",
        "commit_id": "",
        "commit_msg": transfer.params.get("commitMsg") or "",
        "creator_name": task.user,
        "oss_config": _oss_config(transfer, shown.store),
        "source_path": _path(transfer, "from"),
        "target_path": _path(transfer, "to"),
        "err_msg": _error(shown),
        "total_file_size": str(size.total),
        "total_file_count": str(count.total),
        "succeed_file_size": str(size.succeeded),
        "succeed_file_count": str(count.succeeded),
        "successed_file_size": str(size.succeeded),
        "successed_file_count": str(count.succeeded),
        "failed_file_size": str(size.failed),
        "failed_file_count": str(count.failed),
        "files": [_file(f) for f in shown.files],
        "create_time": _time(task.created_at),
        "finish_time": None if task.ended_at is None else _time(task.ended_at),
        "transfer_type": int(TYPES[transfer.way]),
        "repo_id": transfer.repo_id,
        "repo_display_name": transfer.repo_name,
    }


@dataclass(frozen=True, kw_only=True)
class _Counter:
    """Things in all (0: not yet known), done and failed; together never more than in all once that is known."""

    total: int
    succeeded: int
    failed: int

    @classmethod
    def of(cls, total: int, done: int, failed: int, ended_well: bool) -> _Counter:
        if total <= 0:
            return cls(total=0, succeeded=max(0, done), failed=failed)
        failed = min(failed, total)
        return cls(total=total, succeeded=total - failed if ended_well else max(0, min(done, total - failed)), failed=failed)


def _time(at: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=at)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _path(transfer: Transfer, side: str) -> str:
    """Return the path within the storage; "/" for the whole."""
    return (transfer.params.get(side) or {}).get("path") or "/"


def _file(file: TransferFile) -> Wire:
    return {
        "path": file.path,
        "state": FILE_STATES[file.state],
        "err": FILE_FAULTS[file.fault],
        "size": str(file.size),
    }


def _error(shown: Shown) -> str:
    task = shown.transfer.task
    if task.state not in (State.FAILED, State.TIMED_OUT) or not task.reason:
        return ""
    text = _SECRETS.sub(_SCRUBBED, " ".join(task.reason.split()))
    access_id = shown.store.config.get("access_key_id") if shown.store else None
    return text.replace(access_id, "***") if access_id else text


def _oss_config(transfer: Transfer, store: StorageRecord | None) -> Wire:
    """Return how the object store is reached, without its keys; empty for transfers between local storages."""
    found: Wire = {
        "bucket_name": "",
        "oss_endpoint": "",
        "access_key": "",
        "secret_key": "",
        "virtual_host_style": False,
        "disable_ssl": False,
        "insecure_skip_verify": False,
    }
    if store is None:
        return found
    endpoint = store.config.get("endpoint") or f"s3.{store.config.get('region') or DEFAULT_REGION}.amazonaws.com"
    parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    host = parts.netloc.rpartition("@")[2]
    return found | {
        "bucket_name": transfer.bucket if transfer.way is not Way.WITHIN else store.path.strip("/").partition("/")[0],
        "oss_endpoint": f"{parts.scheme}://{host}" if host else "",
        "virtual_host_style": store.config.get("force_path_style", "true").lower() == "false",
        "disable_ssl": parts.scheme == "http",
        "insecure_skip_verify": bool(store.client_config.get("insecureSkipVerify", False)),
    }
