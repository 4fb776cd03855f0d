"""Parameters: every fault at once and by path, and a JSON schema that tells the same."""

import pytest
from marshmallow import ValidationError, fields, validate, validates_schema

from common.errors import Fault, InvalidParams
from executors import registry
from executors.base import Column
from executors.params import Params, Size, json_schema, load_params


class End(Params):
    storage = fields.String(required=True, metadata={"title": "Storage"})
    path = fields.String(load_default="")


class TransferParams(Params):
    origin = fields.Nested(End, required=True, data_key="from")
    include = fields.List(fields.String(validate=validate.Length(min=1)), load_default=list)
    overwrite = fields.String(load_default="changed", validate=validate.OneOf(["never", "changed", "always"]))
    part = Size(load_default=8 << 20, validate=validate.Range(min=1, max=1 << 40), metadata={"examples": ["8MiB"]})
    ratio = fields.Float(load_default=None, allow_none=True, validate=validate.Range(min=0, min_inclusive=False))
    labels = fields.Dict(keys=fields.String(), values=fields.Integer(), load_default=dict)
    code = fields.String(load_default="x", validate=[validate.Length(equal=1), validate.Regexp("[a-z]")])
    kinds = fields.List(fields.String(), load_default=list, validate=validate.ContainsOnly(["pack", "daggen"]))

    @validates_schema
    def _together(self, data, **_):
        if data.get("overwrite") == "never" and data.get("code") == "z":
            raise ValidationError("never and z do not go together")


class Transfer:
    name = "transfer-like"
    summary = "for tests"
    params = TransferParams
    columns = (Column(name="message"),)
    cores = 1.0

    def run(self, ctx):
        return None


def faults(raw):
    with pytest.raises(InvalidParams) as caught:
        load_params(Transfer(), raw)
    return {fault.path: fault.what for fault in caught.value.faults}


def test_defaults_are_filled_in_and_sizes_become_numbers():
    loaded = load_params(Transfer(), {"from": {"storage": "lake"}, "part": "1.5MiB"})
    assert loaded["origin"] == {"storage": "lake", "path": ""}
    assert (loaded["part"], loaded["overwrite"], loaded["include"], loaded["ratio"]) == (3 << 19, "changed", [], None)
    assert load_params(Transfer(), {"from": {"storage": "lake"}, "part": 5})["part"] == 5


def test_every_fault_is_told_at_once_by_its_path():
    found = faults(
        {"from": {"path": 3, "depth": 1}, "include": ["a", "", 7], "overwrite": "maybe", "part": "12 apples", "extra": 1}
    )
    assert set(found) == {
        "from.path", "from.depth", "from.storage", "include.1", "include.2", "overwrite", "part", "extra",
    }  # fmt: skip
    assert found["extra"] == found["from.depth"] == "there is no such parameter"
    assert "apples" in found["part"]


def test_a_size_keeps_its_limits_however_it_is_written():
    assert set(faults({"from": {"storage": "x"}, "part": "2TiB"})) == {"part"}
    assert set(faults({"from": {"storage": "x"}, "part": 0})) == {"part"}
    assert set(faults({"from": {"storage": "x"}, "part": True})) == {"part"}


def test_what_is_no_object_is_told_as_such():
    assert faults([1]) == {"": "must be a JSON object"}
    assert faults(None) == {"": "must be a JSON object"}


def test_faults_of_the_whole_have_no_path_and_read_as_sentences():
    assert faults({"from": {"storage": "x"}, "overwrite": "never", "code": "z"}) == {"": "never and z do not go together"}
    error = InvalidParams([Fault(path="a.b", what="is wrong"), Fault(path="", what="all is wrong")])
    assert str(error) == "a.b: is wrong\nall is wrong"


def test_the_json_schema_tells_what_a_form_needs():
    schema = json_schema(Transfer())
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert (schema["title"], schema["type"], schema["additionalProperties"]) == ("transfer-like", "object", False)
    assert schema["required"] == ["from"]
    shown = schema["properties"]
    assert shown["from"]["properties"]["storage"] == {"type": "string", "title": "Storage"}
    assert shown["from"]["required"] == ["storage"]
    assert shown["include"] == {"type": "array", "items": {"type": "string", "minLength": 1}, "default": []}
    assert shown["overwrite"] == {"type": "string", "default": "changed", "enum": ["never", "changed", "always"]}
    assert shown["part"] == {
        "type": ["integer", "string"], "format": "size", "examples": ["8MiB"],
        "default": 8 << 20, "minimum": 1, "maximum": 1 << 40,
    }  # fmt: skip
    assert shown["ratio"] == {"type": ["number", "null"], "default": None, "exclusiveMinimum": 0}
    assert shown["labels"] == {"type": "object", "additionalProperties": {"type": "integer"}, "default": {}}
    assert shown["code"] == {"type": "string", "default": "x", "minLength": 1, "maxLength": 1, "pattern": "[a-z]"}
    assert shown["kinds"] == {
        "type": "array", "items": {"type": "string", "enum": ["pack", "daggen"]}, "uniqueItems": True, "default": [],
    }  # fmt: skip


def test_a_default_that_is_made_anew_each_time_is_shown_too():
    shown = json_schema(registry.get("scan"))["properties"]["follow"]
    assert shown["default"] == ["pack"]


def test_every_installed_executor_can_be_shown_in_json():
    import json

    for executor in registry.load_all():
        schema = json.loads(json.dumps(json_schema(executor)))
        assert schema["type"] == "object"
        for shown in schema["properties"].values():
            assert "type" in shown or "enum" in shown or shown.get("description")
