"""The body of the request, read as leniently as protobuf's JSON is: any field may be missing, and its zero filters nothing.

Numbers may be decimal texts, enumerations numbers or names, field names in snake case or lower camel case; ``null`` is
missing, unknown fields are ignored. Whatever does not fit is a BadInput that begins with the field's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from common.errors import BadInput
from entrance.dialects.dataspaces.words import TaskState, TransferType

DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE = 10, 1000
MAX_KEYWORD_CHARACTERS = 256
_INT32 = 1 << 31
_INTEGER = re.compile(r"-?\d{1,20}", re.ASCII)
_MOMENT = re.compile(  # RFC 3339, section 5.6; the offset may be missing
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))?", re.ASCII | re.IGNORECASE
)
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a client asks for. Times in ms, both included; None, "" and an empty list filter nothing."""

    data_space_id: str = ""
    repo_id: str = ""
    keyword: str = ""
    transfer_type: TransferType = TransferType.TRANSFER_TYPE_UNDEFINED
    states: Sequence[TaskState] = ()
    start: int | None = None
    end: int | None = None
    page_size: int = DEFAULT_PAGE_SIZE
    page_no: int = 0


def read(body: Mapping[str, Any]) -> Asked:
    """Return what a body asks for. Raises BadInput."""
    fields = _Fields(body)
    page_size, page_no = fields.int32("page_size"), fields.int32("page_no")
    for name, number in (("page_size", page_size), ("page_no", page_no)):
        if number < 0:
            raise BadInput(f"{name}: must not be negative")
    keyword = fields.text("repo_name_keyword").strip()
    if len(keyword) > MAX_KEYWORD_CHARACTERS:
        raise BadInput(f"repo_name_keyword: must have at most {MAX_KEYWORD_CHARACTERS} characters")
    start, end = fields.moment("start_time"), fields.moment("end_time")
    if start is not None and end is not None and start > end:
        raise BadInput("start_time: must not be after end_time")
    return Asked(
        data_space_id=fields.text("data_space_id"),
        repo_id=fields.text("repo_id"),
        keyword=keyword,
        transfer_type=TransferType(_enum("transfer_type", fields.get("transfer_type"), TransferType)),
        states=[TaskState(_enum("task_states", v, TaskState, null_is_zero=False)) for v in fields.items("task_states")],
        start=None if start is None else -(-start // _NS_PER_MS),
        end=None if end is None else end // _NS_PER_MS,
        page_size=min(page_size or DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE),
        page_no=page_no,
    )


class _Fields:
    """The fields of a body by their snake-case names."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def get(self, name: str) -> Any:
        """Return a field's value; the snake-case spelling counts over the other."""
        if name in self._body:
            return self._body[name]
        first, *rest = name.split("_")
        return self._body.get(first + "".join(word.capitalize() for word in rest))

    def text(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise BadInput(f"{name}: must be a text")
        return value

    def int32(self, name: str) -> int:
        return _int32(name, self.get(name))

    def items(self, name: str) -> list[Any]:
        """Return the entries of an array; anything else is an array of one."""
        value = self.get(name)
        return [] if value is None else value if isinstance(value, list) else [value]

    def moment(self, name: str) -> int | None:
        """Return a time in ns since 1970."""
        text = self.text(name)
        if not text:
            return None
        found = _MOMENT.fullmatch(text)
        if found is None:
            raise BadInput(f"{name}: must be a time such as 2023-12-05T08:06:38.526Z")
        *parts, decimals, sign, hours, minutes = found.groups()
        try:
            moment = datetime(*(int(p) for p in parts), tzinfo=UTC)  # type: ignore[arg-type, misc]
        except ValueError as error:
            raise BadInput(f"{name}: there is no such time") from error
        seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)).days * 86_400
        seconds += moment.hour * 3600 + moment.minute * 60 + moment.second
        if sign:
            if int(hours) > 23 or int(minutes) > 59:
                raise BadInput(f"{name}: there is no such offset")
            offset = int(hours) * 3600 + int(minutes) * 60
            seconds += offset if sign == "-" else -offset
        return seconds * 1_000_000_000 + int((decimals or "").ljust(9, "0"))


def _int32(name: str, value: Any) -> int:
    if value is None:
        return 0
    number: int | None = None
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole or (isinstance(value, float) and value.is_integer()) or (isinstance(value, str) and _INTEGER.fullmatch(value)):
        number = int(value)
    if number is None:
        raise BadInput(f"{name}: must be a whole number")
    if not -_INT32 <= number < _INT32:
        raise BadInput(f"{name}: does not fit 32 bits")
    return number


def _enum(name: str, value: Any, kind: type[TransferType] | type[TaskState], *, null_is_zero: bool = True) -> int:
    if value is None and null_is_zero:
        return 0
    if isinstance(value, str) and value in kind.__members__:
        return int(kind[value])
    if value is None or (isinstance(value, str) and not _INTEGER.fullmatch(value)):
        raise BadInput(f"{name}: there is no such value")
    number = _int32(name, value)
    if number not in [int(member) for member in kind]:
        raise BadInput(f"{name}: there is no value {number}")
    return number
