"""Bodies that clients send. Unknown keys are ignored: real clients send more than anybody reads.

The rules of ``submit`` are in ``submission``: its refusals have numbers and an order of their own, so the schema only holds
the shape.
"""

from __future__ import annotations

from marshmallow import EXCLUDE, Schema, fields, validate


class Lenient(Schema):
    """Ignores what it does not know."""

    class Meta:
        unknown = EXCLUDE


def _text(doc: str, **options: object) -> fields.String:
    return fields.String(metadata={"description": doc}, **options)  # type: ignore[arg-type]


def _object(doc: str) -> fields.Dict:
    return fields.Dict(allow_none=True, metadata={"description": doc})


class Submit(Lenient):
    """Both forms: with ``executionContent`` (Linkis 1.x), or with ``executeApplicationName`` and ``executionCode``."""

    executionContent = _object("`code`: the executor's parameters as JSON text (or object); `runType`")  # noqa: N815
    params = _object("`variable`: values for ${name}; `configuration`: `runtime`, `startup`, `special`")
    source = _object("where the job came from: texts")
    labels = _object("`engineType` (executor, or executor-version), `userCreator` (user-creator), `codeType`, limits")
    executeApplicationName = _text("old form: executor", allow_none=True)  # noqa: N815
    requestApplicationName = _text("old form: creator", allow_none=True)  # noqa: N815
    executionCode = fields.Raw(allow_none=True, metadata={"description": "old form: the code"})  # noqa: N815
    runType = _text("old form: run type", allow_none=True)  # noqa: N815


class Login(Lenient):
    userName = _text("user name", allow_none=True)  # noqa: N815
    password = _text("password, or its RSA encryption in base64 when `publicKey` says so", allow_none=True)


class KillJobs(Lenient):
    idList = fields.Raw(metadata={"type": "array", "description": "execution ids or task numbers"})  # noqa: N815
    taskIDList = fields.Raw(metadata={"type": "array", "description": "task numbers, in the same order"})  # noqa: N815


class Priority(Lenient):
    priority = fields.Raw(
        required=True, metadata={"description": "0 to 800, or BACKGROUND, LOW, NORMAL, HIGH, URGENT, CRITICAL"}
    )


class Actions(Lenient):
    action = fields.String(required=True, validate=validate.OneOf(("kill", "pause", "resume", "priority", "rerun")))
    ids = fields.List(fields.Raw(), allow_none=True, metadata={"description": "task numbers, execution ids or UUIDs"})
    filter = fields.Dict(
        allow_none=True, metadata={"description": "instead of ids: the query parameters of jobhistory/list"}
    )
    priority = fields.Raw(allow_none=True, metadata={"description": "for the action priority"})
    expect = fields.Integer(
        allow_none=True, strict=True, metadata={"description": "refuse when another number of tasks would be touched"}
    )
    dryRun = fields.Boolean(load_default=False, metadata={"description": "only count"})  # noqa: N815


class NewUser(Lenient):
    name = fields.String(required=True)
    password = fields.String(load_default="", metadata={"description": "empty: tokens only"})
    admin = fields.Boolean(load_default=False)


class ChangedUser(Lenient):
    password = fields.String(allow_none=True)
    admin = fields.Boolean(allow_none=True)


class NewToken(Lenient):
    user = fields.String(required=True)
    days = fields.Integer(
        allow_none=True, strict=True, load_default=None, metadata={"description": "life; null is for ever"}
    )


class NewKey(Lenient):
    user = fields.String(required=True)
