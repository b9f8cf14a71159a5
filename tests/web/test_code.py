"""The same call in each language: what is copied runs, whatever the inputs hold."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
from typing import Any

import pytest

from modelyard.web import code, form

INPUTS: dict[str, Any] = {
    "text": 'it\'s "quoted"\n$HOME `id` \\ é </script>',
    "count": 3,
    "flag": True,
    "nothing": None,
    "list": ["a", {"b": [1.5, False]}],
    "long": "x" * 100,
}


def call(**changed: Any) -> code.Call:
    told = {"origin": "http://yard.test:1", "model": "you/it", "version": None, "iterator": False, "inputs": INPUTS}
    return code.Call(**{**told, **changed})


@pytest.mark.parametrize("iterator", [False, True])
def test_python_is_python_and_holds_the_inputs(iterator: bool) -> None:
    tree = ast.parse(code.python(call(iterator=iterator)))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "input"]
    assert ast.literal_eval(found[0].value) == INPUTS
    assert '"http://yard.test:1"' in code.python(call())


def test_curl_survives_the_shell() -> None:
    line = code.curl(call()).replace("\\\n", " ")
    shown = subprocess.run(
        ["sh", "-c", f"set -- {line}; for one; do printf '%s\\0' \"$one\"; done"],
        env={"MODELYARD_TOKEN": "r8_secret"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    assert shown[:3] == ["curl", "-s", "http://yard.test:1/v1/models/you/it/predictions"]
    assert "Authorization: Bearer r8_secret" in shown
    assert json.loads(shown[shown.index("-d") + 1]) == {"input": INPUTS}


def test_the_command_survives_the_shell() -> None:
    words = shlex.split(code.command(call()).replace("\\\n", " "))
    assert words[:3] == ["yard", "run", "you/it"]
    pairs = dict(word.split("=", 1) for word in words[4::2])
    assert pairs["text"] == INPUTS["text"]
    assert json.loads(pairs["list"]) == INPUTS["list"]


def test_javascript_holds_the_inputs_as_json() -> None:
    text = code.javascript(call())
    written = text.partition("const input = ")[2].partition(";\nconst output")[0]
    assert json.loads(written) == INPUTS
    assert "replicate.stream(" in code.javascript(call(iterator=True))


def test_another_version_is_named() -> None:
    version = "ab" * 32
    made = {sample.key: sample.text for sample in code.samples(call(version=version))}
    assert f"you/it:{version}" in made["python"]
    assert f"you/it:{version}" in made["javascript"]
    assert f"you/it:{version}" in made["yard"]
    assert "http://yard.test:1/v1/predictions" in made["curl"]
    assert version in made["curl"]


def test_an_example_gives_what_must_be_given() -> None:
    inputs = {
        "text": {"type": "string"},
        "steps": {"type": "integer", "minimum": 4},
        "size": {"type": "string", "enum": ["s", "m"]},
        "picture": {"type": "string", "format": "uri"},
        "optional": {"type": "string"},
        "usual": {"type": "string", "default": "x"},
    }
    whole = {"properties": inputs, "required": ["text", "steps", "size", "picture"]}
    made = form.read({"components": {"schemas": {"Input": whole}}}, {"usual": "changed"})
    shown = code.example(made)
    assert shown == {
        "text": "…",
        "steps": 4,
        "size": "s",
        "picture": "https://example.org/file",
        "usual": "changed",
    }
    assert code.example(None) == {}
