"""Parameters of executors: the schema they are loaded with, and the JSON schema that forms are made from.

An executor's ``params`` is a subclass of ``Params``. An unknown key is an error, and all that is wrong is told at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, missing, validate

from common.content.sizes import parse_size
from common.errors import ContentError, Fault, InvalidParams
from executors.base import Executor


class Params(Schema):
    """Base of all parameter schemas: unknown keys are refused, keys keep their order."""

    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "there is no such parameter", "type": "must be a JSON object"}  # noqa: RUF012


class Size(fields.Integer):
    """Bytes, as a whole number or as text such as ``31.5GiB``; loads to an int."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, str):
            try:
                return self._validated(parse_size(value))
            except ContentError as error:
                raise ValidationError(str(error)) from error
        return super()._deserialize(value, attr, data, **kwargs)


@cache
def schema_of(params: type[Schema]) -> Schema:
    """Return the one instance of a schema: to make one costs more than to use it."""
    return params()


def load_params(executor: Executor, raw: Any) -> dict[str, Any]:
    """Return ``raw`` as the executor's schema loads it, defaults filled in.

    Raises InvalidParams with every fault, each by its dotted path.
    """
    try:
        loaded: dict[str, Any] = schema_of(executor.params).load(raw)
    except ValidationError as error:
        raise InvalidParams(list(_faults(error.messages, ""))) from error
    return loaded


def _faults(messages: Any, path: str) -> Iterator[Fault]:
    if isinstance(messages, Mapping):
        for key, below in messages.items():
            part = "" if key == "_schema" else str(key)
            yield from _faults(below, f"{path}.{part}" if path and part else path or part)
    elif isinstance(messages, str):
        yield Fault(path=path, what=messages)
    else:
        for message in messages:
            yield from _faults(message, path)


def json_schema(executor: Executor) -> dict[str, Any]:
    """Return the executor's parameters as a JSON schema (draft 2020-12), enough to make a form from.

    ``title``, ``description`` and ``examples`` come from each field's metadata. A size has format ``size``.
    """
    schema = _object(schema_of(executor.params))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": executor.name, **schema}


def _object(schema: Schema) -> dict[str, Any]:
    names = {field.data_key or name: field for name, field in schema.fields.items()}
    return {
        "type": "object",
        "properties": {name: _property(field) for name, field in names.items()},
        "required": [name for name, field in names.items() if field.required],
        "additionalProperties": False,
    }


_TYPES: tuple[tuple[type[fields.Field[Any]], dict[str, Any]], ...] = (
    (Size, {"type": ["integer", "string"], "format": "size"}),
    (fields.Boolean, {"type": "boolean"}),
    (fields.Integer, {"type": "integer"}),
    (fields.Number, {"type": "number"}),
    (fields.UUID, {"type": "string", "format": "uuid"}),
    (fields.String, {"type": "string"}),
)


def _property(field: fields.Field[Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if isinstance(field, fields.Nested):
        shown = _object(field.schema)
        if field.many:
            shown = {"type": "array", "items": shown}
    elif isinstance(field, fields.List):
        shown = {"type": "array", "items": _property(field.inner)}
    elif isinstance(field, fields.Mapping):
        shown = {"type": "object"}
        if field.value_field is not None:
            shown["additionalProperties"] = _property(field.value_field)
    else:
        shown = dict(next((kind for of, kind in _TYPES if isinstance(field, of)), {}))
    if field.allow_none and isinstance(shown.get("type"), str):
        shown["type"] = [shown["type"], "null"]
    for key in ("title", "description", "examples"):
        if key in field.metadata:
            shown[key] = field.metadata[key]
    if field.load_default is not missing:
        shown["default"] = field.load_default() if callable(field.load_default) else field.load_default
    for rule in field.validators:
        shown |= _rule(rule, shown.get("type"))
    return shown


def _rule(rule: Any, kind: Any) -> dict[str, Any]:
    if isinstance(rule, validate.ContainsOnly):  # before OneOf, of which it is a kind
        return {"items": {"type": "string", "enum": list(rule.choices)}, "uniqueItems": True}
    if isinstance(rule, validate.OneOf):
        return {"enum": list(rule.choices)}
    if isinstance(rule, validate.Range):
        low = "minimum" if rule.min_inclusive else "exclusiveMinimum"
        high = "maximum" if rule.max_inclusive else "exclusiveMaximum"
        return {key: value for key, value in ((low, rule.min), (high, rule.max)) if value is not None}
    if isinstance(rule, validate.Length):
        noun = "Items" if kind == "array" else "Length"
        least, most = (rule.min, rule.max) if rule.equal is None else (rule.equal, rule.equal)
        return {key: value for key, value in ((f"min{noun}", least), (f"max{noun}", most)) if value is not None}
    if isinstance(rule, validate.Regexp):
        return {"pattern": rule.regex.pattern}
    return {}
