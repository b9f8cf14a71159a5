"""A regex that an author writes for Python is one that whoever checks inputs can read, and means the same."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema_rs
import pytest

from modelyard.packaging import schema

TEXTS = ["abc", "ABC", "2024-05", "aXa", "a", "x@y.de", "", "aa", "pL"]


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[a-z]+$",
        r"(?i)^abc",
        r"(?P<year>\d{4})-(?P<month>\d{2})",
        r"\A[a-z]+\Z",
        r"(?<!a)a|(?<=x)@",
        r"\\Z|[.]",
        r"\bx@",
        r"(?u)^[a-z]",
    ],
)
def test_a_pattern_of_pythons_checks_inputs_as_python_does(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "run.py").write_text(
        f"from cog import Input\n\ndef run(text: str = Input(regex={pattern!r})) -> str: ...\n"
    )
    found = schema.read(tmp_path, "run.py:run")["components"]["schemas"]["Input"]["properties"]["text"]
    checker = jsonschema_rs.Draft7Validator(found)
    for text in TEXTS:
        assert checker.is_valid(text) == bool(re.search(pattern, text)), text


def test_classes_of_unicode_are_not_taken_for_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(
        'from cog import Input\n\ndef run(text: str = Input(regex=r"^\\pL\\p{Ll}+$", default="Abc")) -> str: ...\n'
    )
    found = schema.read(tmp_path, "run.py:run")["components"]["schemas"]["Input"]["properties"]["text"]
    checker = jsonschema_rs.Draft7Validator(found)
    assert [checker.is_valid(text) for text in ("Élan", "élan", "E1")] == [True, True, False]
