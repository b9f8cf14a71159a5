"""A form from a schema: one field an input, with a control that fits, whatever the schema is like."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.web import form


def schema(properties: dict[str, Any], required: list[str] | None = None, **others: Any) -> dict[str, Any]:
    whole = {"type": "object", "properties": properties, "required": required or []}
    return {"components": {"schemas": {"Input": whole, **others}}}


def only(node: dict[str, Any], value: Any = None, **others: Any) -> form.Field:
    made = form.read(schema({"one": node}, **others), {} if value is None else {"one": value})
    assert made is not None
    return made.all[0]


@pytest.mark.parametrize(
    ("node", "control", "word"),
    [
        ({"type": "string"}, "text", "string"),
        ({"type": "string", "format": "uri"}, "file", "file"),
        ({"type": "string", "format": "password", "x-cog-secret": True}, "secret", "secret"),
        ({"type": "boolean"}, "flag", "boolean"),
        ({"type": "integer"}, "number", "integer"),
        ({"type": "integer", "minimum": 1, "maximum": 1001}, "slider", "integer"),
        ({"type": "integer", "minimum": 1, "maximum": 1002}, "number", "integer"),
        ({"type": "integer", "minimum": 5, "maximum": 5}, "number", "integer"),
        ({"type": "number", "minimum": 0, "maximum": 1}, "slider", "number"),
        ({"type": "number", "minimum": 0, "maximum": 1e-9}, "number", "number"),
        ({"type": "number", "minimum": 0}, "number", "number"),
        ({"type": "number", "minimum": True, "maximum": "x"}, "number", "number"),
        ({"enum": ["a", "b", "c"], "type": "string"}, "buttons", "string"),
        ({"enum": ["a", "b", "c", "d"], "type": "string"}, "menu", "string"),
        ({"enum": ["a" * 30, "b"], "type": "string"}, "menu", "string"),
        ({"enum": [1, 2], "type": "integer"}, "buttons", "integer"),
        ({"enum": []}, "json", "any"),
        ({"type": "array", "items": {"type": "string"}}, "list", "list of strings"),
        ({"type": "array", "items": {"type": "string", "format": "uri"}}, "list", "list of files"),
        ({"type": "array", "items": {"type": "array"}}, "json", "list"),
        ({"type": "array", "items": {"type": "string", "x-cog-secret": True}}, "json", "list"),
        ({"type": "array"}, "json", "list"),
        ({"type": "object"}, "json", "object"),
        ({}, "json", "any"),
        ({"type": ["string", "null"]}, "text", "string"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "number", "integer"),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "json", "any"),
        ({"anyOf": "nonsense"}, "json", "any"),
    ],
)
def test_a_control_fits_what_the_input_takes(node: dict[str, Any], control: str, word: str) -> None:
    field = only(node)
    assert (field.control, field.word) == (control, word)


def test_an_input_that_may_be_left_out_is_not_demanded() -> None:
    document = schema({"seed": {"type": "integer"}, "text": {"type": "string"}}, ["seed", "text"])
    made = form.read(document | {"x-modelyard-omittable": {"Input": ["seed"]}}, {})
    assert made is not None
    assert [(field.name, field.required) for field in made.all] == [("seed", False), ("text", True)]


def test_a_slider_has_steps_that_a_hand_can_hit() -> None:
    assert only({"type": "number", "minimum": 0, "maximum": 1}).step == 0.01
    assert only({"type": "number", "minimum": -90, "maximum": 90}).step == 1
    assert only({"type": "integer", "minimum": 0, "maximum": 10}).step == 1


def test_an_enumeration_by_reference_keeps_the_inputs_own_words() -> None:
    node = {"allOf": [{"$ref": "#/components/schemas/size"}], "default": "m", "description": "How large"}
    field = only(node, size={"title": "size", "description": "An enumeration.", "enum": ["s", "m"], "type": "string"})
    assert (field.about, field.value, field.choices) == ("How large", "m", ("s", "m"))
    plain = {"allOf": [{"$ref": "#/components/schemas/size"}]}
    assert only(plain, size={"description": "An enumeration.", "enum": ["s"], "type": "string"}).about == ""


def test_a_schema_that_names_itself_ends() -> None:
    field = only({"$ref": "#/components/schemas/loop"}, loop={"$ref": "#/components/schemas/loop"})
    assert field.control == "json"


def test_fields_stand_in_the_models_order_and_optional_ones_behind_more() -> None:
    properties = {f"in{i}": {"type": "string", "x-order": 9 - i, "default": "x"} for i in range(5)}
    properties["free"] = {"type": "string", "x-order": 0}
    made = form.read(schema(properties), {})
    assert made is not None
    assert [field.name for field in made.fields] == ["in4", "in3", "in2", "in1", "in0"]
    assert [field.name for field in made.more] == ["free"]
    short = form.read(schema({"free": {"type": "string"}}), {})
    assert short is not None
    assert not short.more, "a form of one field hides it"


def test_a_value_is_held_as_its_control_holds_it() -> None:
    assert only({"type": "string"}, "a\nb").text == "a\nb"
    assert only({"type": "integer"}, 5).text == "5"
    assert only({"type": "object"}, {"a": [1]}).text == '{\n  "a": [\n    1\n  ]\n}'
    assert only({"type": "object"}, "text").text == '"text"'
    assert only({"type": "array", "items": {"type": "integer"}}, [1, 2]).entries == ["1", "2"]
    assert only({"type": "array", "items": {"type": "string"}}, "no list").entries == []


def test_a_secret_is_never_put_back() -> None:
    assert only({"type": "string", "x-cog-secret": True}, "hush").value is None


@pytest.mark.parametrize(
    "whole", [{}, {"components": 1}, {"components": {"schemas": {}}}, {"components": {"schemas": {"Input": []}}}]
)
def test_a_schema_without_inputs_makes_no_form(whole: dict[str, Any]) -> None:
    assert form.read(whole, {}) is None


def test_the_address_gives_what_it_can() -> None:
    inputs = schema(
        {
            "text": {"type": "string"},
            "count": {"type": "integer"},
            "key": {"type": "string", "x-cog-secret": True},
            "size": {"type": "string", "enum": ["s", "m"]},
            "more": {"type": "object"},
        }
    )
    pairs = [
        ("text", "5"),
        ("count", "5"),
        ("key", "hush"),
        ("size", "m"),
        ("more", "{broken"),
        ("unknown", "1"),
    ]
    assert form.from_query(pairs, inputs) == {"text": "5", "count": 5, "size": "m"}
    assert form.from_query([("more", "[" * 100_000)], inputs) == {}


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ({"minimum": 1, "maximum": 10}, "1 to 10"),
        ({"minimum": 0.5}, "0.5 or more"),
        ({"maximum": 3}, "3 or less"),
        ({}, ""),
    ],
)
def test_a_range_is_said_in_words(node: dict[str, Any], said: str) -> None:
    assert only({"type": "number", **node}).limits == said
