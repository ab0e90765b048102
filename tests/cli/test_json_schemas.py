"""What ``--json`` prints is what the published schemas say, of every command, and nothing besides."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from helpers.outputs import asked, made_up
from whyclass.report import schemas

jsonschema = pytest.importorskip("jsonschema", reason="the extra dev brings it")

CODES = {"error": (1, 2)}
"""Exit codes of calls that end with another than 0."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return list(asked(tmp_path_factory.mktemp("outputs")))


def strict(schema: Any) -> Any:
    """The schema, with every key refused that it does not name."""
    found = copy.deepcopy(schema)
    todo = [found]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            if "properties" in one:
                one["additionalProperties"] = False
            todo += one.values()
        elif isinstance(one, list):
            todo += one
    return found


def test_every_object_is_as_its_schema_says_and_holds_no_key_that_it_lacks(made):
    for kind, ran in made:
        assert ran.code in CODES.get(kind, (0,)), (kind, ran)
        assert ran.json["schema"] == f"whyclass/{kind}/1"
        assert next(iter(ran.json)) == "schema"
        jsonschema.validate(ran.json, strict(schemas.read(kind)))


def test_every_schema_is_one_and_is_of_a_command(made):
    for name in schemas.names():
        jsonschema.Draft202012Validator.check_schema(schemas.read(name))
        assert schemas.read(name)["$id"] == f"whyclass/{name}/1"
    assert {kind for kind, _ in made} | {"demo"} == set(schemas.names())  # the demonstration takes a minute


def test_made_up_records_are_as_the_schemas_say():
    for kind, found in made_up():
        jsonschema.validate({"schema": f"whyclass/{kind}/1", **found}, strict(schemas.read(kind)))


def test_a_key_that_is_new_or_gone_is_seen(made):
    found = next(ran.json for kind, ran in made if kind == "explanation")
    with pytest.raises(jsonschema.ValidationError, match="rank"):
        jsonschema.validate({**found, "rank": 1}, strict(schemas.read("explanation")))
    jsonschema.validate({**found, "rank": 1}, schemas.read("explanation"))  # users' programs go on
    with pytest.raises(jsonschema.ValidationError, match="verdict"):
        jsonschema.validate({k: v for k, v in found.items() if k != "verdict"}, schemas.read("explanation"))
