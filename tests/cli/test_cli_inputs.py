"""From the command line to an input: the rules of Cog, its words, and where we do better."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from modelyard.cli import inputs
from modelyard.errors import UsageError

DOCUMENT: dict[str, Any] = {
    "components": {
        "schemas": {
            "Input": {
                "type": "object",
                "properties": {
                    "prompt": {"type": "string", "minLength": 3, "maxLength": 8},
                    "count": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
                    "scale": {"type": "number", "default": 1.0},
                    "loud": {"type": "boolean", "default": False},
                    "size": {"allOf": [{"$ref": "#/components/schemas/size"}], "default": "small"},
                    "steps": {"allOf": [{"$ref": "#/components/schemas/steps"}], "default": 1},
                    "tags": {"type": "array", "items": {"type": "string"}, "default": []},
                    "numbers": {"type": "array", "items": {"type": "integer"}, "default": []},
                    "image": {"type": "string", "format": "uri", "nullable": True},
                    "images": {"type": "array", "items": {"type": "string", "format": "uri"}, "default": []},
                    "options": {"type": "object", "nullable": True},
                    "either": {"anyOf": [{"type": "string"}, {"type": "integer"}], "default": 1},
                    "strict": {"anyOf": [{"type": "integer"}, {"type": "boolean"}], "default": 1},
                    "code": {"type": "string", "pattern": "^[a-z]+$", "default": "a"},
                },
                "required": ["prompt"],
            },
            "size": {"enum": ["small", "large"], "type": "string"},
            "steps": {"enum": [1, 2, 4], "type": "integer"},
        }
    }
}


def values(cwd: Path, *pairs: str) -> dict[str, Any]:
    found = inputs.parse(DOCUMENT, ["prompt=hello", *pairs], None, cwd).values
    del found["prompt"]
    return found


def fault(cwd: Path, *pairs: str, json_text: str | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        inputs.parse(DOCUMENT, pairs, json_text, cwd)
    return caught.value.detail


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("count=3", 3),
        ("scale=0.1", 0.1),
        ("scale=2", 2),
        ("scale=1e-3", 0.001),
        ("loud=true", True),
        ("loud=False", False),
        ("size=large", "large"),
        ("steps=4", 4),
        ("tags=one", ["one"]),
        ('tags=["a", "b"]', ["a", "b"]),
        ("numbers=3", [3]),
        ("numbers=[1, 2]", [1, 2]),
        ('options={"a": {"b": 1}}', {"a": {"b": 1}}),
        ("either=7", 7),
        ("either=seven", "seven"),
        ("strict=true", True),
        ("strict=5", 5),
        ("image=https://example.org/a.png", "https://example.org/a.png"),
        ('code="abc"', "abc"),
    ],
)
def test_a_text_becomes_what_the_schema_wants(pair: str, value: Any, tmp_path: Path) -> None:
    found = values(tmp_path, pair)[pair.partition("=")[0]]
    assert found == value
    assert type(found) is type(value)


def test_a_value_may_hold_the_equals_sign(tmp_path: Path) -> None:
    assert inputs.parse(DOCUMENT, ["prompt=a=b"], None, tmp_path).values == {"prompt": "a=b"}


def test_a_large_number_keeps_its_digits(tmp_path: Path) -> None:
    assert values(tmp_path, "scale=12345678901234567890") == {"scale": 12345678901234567890}


def test_a_name_given_twice_is_a_list(tmp_path: Path) -> None:
    assert values(tmp_path, "numbers=1", "numbers=2") == {"numbers": [1, 2]}


def test_a_file_for_a_file_goes_as_a_path_and_not_as_text(tmp_path: Path) -> None:
    (tmp_path / "my photo.jpg").write_bytes(b"jpeg")
    (tmp_path / "b.png").write_bytes(b"png")
    found = inputs.parse(
        DOCUMENT, ["prompt=hello", "image=@my photo.jpg", "images=@my photo.jpg", "images=@b.png"], None, tmp_path
    )
    address = (tmp_path / "my photo.jpg").as_uri()
    assert found.values["image"] == address
    assert found.values["images"] == [address, (tmp_path / "b.png").as_uri()]
    assert found.files == {
        address: str(tmp_path / "my photo.jpg"),
        (tmp_path / "b.png").as_uri(): str(tmp_path / "b.png"),
    }


def test_one_file_for_a_list_of_files_is_a_list_of_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"png")
    assert values(tmp_path, "images=@a.png") == {"images": [(tmp_path / "a.png").as_uri()]}


def test_a_file_for_a_text_goes_as_a_data_url(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hi")
    found = values(tmp_path, "either=@a.txt")["either"]
    assert found == "data:text/plain;base64," + base64.b64encode(b"hi").decode()


def test_a_file_for_an_object_is_read_as_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert values(tmp_path, "options=@a.json") == {"options": {"a": 1}}


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["prompt"], "Failed to parse input 'prompt', expected format is 'name=value'"),
        (["=x"], "Failed to parse input '=x', expected format is 'name=value'"),
        ([], 'missing required input "prompt"'),
        (["count=3.5"], 'invalid input "count": expected integer, got number'),
        (["count=many"], 'invalid input "count": expected integer, got string'),
        (["count=0"], 'invalid input "count": number must be at least 1'),
        (["count=11"], 'invalid input "count": number must be at most 10'),
        (["loud=yes"], 'invalid input "loud": expected boolean, got string'),
        (["size=huge"], 'invalid input "size": must be one of: small, large'),
        (["strict=x"], 'invalid input "strict": expected integer or boolean, got string'),
        (["numbers=1", "numbers=x"], 'invalid input "numbers.1": expected integer, got string'),
        (["code=ABC"], 'invalid input "code": string doesn\'t match the regular expression "^[a-z]+$"'),
        (["image=a.png"], 'invalid input "image": expected a file or an address, got "a.png"'),
        (["image=@a.png"], 'input "image": failed to read file "a.png": there is no such file'),
        (["image=@."], 'input "image": failed to read file ".": it is a folder'),
        (["prompt=ab"], 'invalid input "prompt": minimum string length is 3'),
        (["prompt=123456789"], 'invalid input "prompt": maximum string length is 8'),
        (["options=[1]"], 'invalid input "options": expected object, got array'),
    ],
)
def test_what_does_not_fit_is_said_in_the_words_of_cog(pairs: list[str], said: str, tmp_path: Path) -> None:
    given = pairs if not pairs or pairs[0].startswith(("prompt", "=")) else ["prompt=hello", *pairs]
    assert fault(tmp_path, *given) == said


def test_unknown_names_are_told_before_any_file_is_read(tmp_path: Path) -> None:
    said = fault(tmp_path, "prompt=hello", "nope=@missing", "nor=1", "image=@missing")
    assert said.startswith('unknown inputs "nope", "nor"; valid inputs are: prompt, count, ')
    assert "\n" not in said


def test_unknown_names_come_with_all_other_faults(tmp_path: Path) -> None:
    said = fault(tmp_path, "nope=1", "size=huge", "count=1", "count=2")
    assert said.splitlines()[0] == "input validation failed:"
    assert sorted(line.partition("; valid")[0] for line in said.splitlines()[1:]) == [
        '- invalid input "count": "count" is given twice, and takes one value',
        '- invalid input "size": must be one of: small, large',
        '- missing required input "prompt"',
        '- unknown input "nope"',
    ]


def test_a_file_that_is_not_there_comes_with_the_other_faults(tmp_path: Path) -> None:
    said = fault(tmp_path, "prompt=@missing", "size=huge")
    assert said.splitlines()[1:] == [
        '- input "prompt": failed to read file "missing": there is no such file',
        '- invalid input "size": must be one of: small, large',
    ]


def test_several_faults_come_together(tmp_path: Path) -> None:
    said = fault(tmp_path, "count=0", "size=huge")
    assert said.startswith("input validation failed:\n- ")
    assert len(said.splitlines()) == 4


def test_a_path_without_its_sign_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        inputs.parse(DOCUMENT, ["prompt=hello", "image=a.png"], None, tmp_path)
    assert caught.value.hint == "put @ before the name of a file: -i image=@a.png"


def test_json_gives_the_whole_input(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"png")
    found = inputs.parse(DOCUMENT, [], '{"prompt": "hello", "image": "@a.png", "scale": 0.1}', tmp_path)
    assert found.values == {"prompt": "hello", "image": (tmp_path / "a.png").as_uri(), "scale": 0.1}


def test_json_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"prompt": "hello"}')
    assert inputs.parse(DOCUMENT, [], "@in.json", tmp_path).values == {"prompt": "hello"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Failed to parse JSON: "),
        ("[1]", "Failed to parse JSON: an object is wanted"),
        ("@none.json", 'Failed to read JSON from file "none.json": '),
        ('{"prompt": null}', 'invalid input "prompt": must not be null (omit the input to use its default)'),
        ('{"prompt": 5}', 'invalid input "prompt": expected string, got integer'),
        ('{"nope": 5, "prompt": "hello"}', 'unknown input "nope"; valid inputs are: prompt'),
    ],
)
def test_json_that_does_not_fit_is_refused(text: str, said: str, tmp_path: Path) -> None:
    assert fault(tmp_path, json_text=text).startswith(said)


def test_pairs_and_json_exclude_each_other(tmp_path: Path) -> None:
    assert fault(tmp_path, "prompt=x", json_text="{}") == "Must use one of --json or --input to provide model inputs"


def test_a_model_without_inputs_says_so(tmp_path: Path) -> None:
    empty = {"components": {"schemas": {"Input": {"type": "object", "properties": {}}}}}
    with pytest.raises(UsageError, match='unknown input "a"; this model takes no inputs'):
        inputs.parse(empty, ["a=1"], None, tmp_path)
