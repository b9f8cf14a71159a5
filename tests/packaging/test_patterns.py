"""A regex that an author writes for Python is one that whoever checks inputs can read, and means the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from modelyard.packaging import schema

TEXTS = ["abc", "ABC", "2024-05", "aXa", "a", "x@y.de", "", "aa", "pL"]


PATTERNS = {
    r"^[a-z]+$": TEXTS,
    r"(?i)^abc": TEXTS,
    r"(?P<year>\d{4})-(?P<month>\d{2})": TEXTS,
    r"\A[a-z]+\Z": TEXTS,
    r"(?<!a)a|(?<=x)@": TEXTS,
    r"\\Z|[.]": TEXTS,
    r"\bx@": TEXTS,
    r"(?u)^[a-z]": TEXTS,
    r"(?P<x>a|b)-(?P=x)": ["a-a", "a-b", "b-b"],
    r"(z)(?P<x>a|b)(?P=x)1": ["zaa1", "zab1", "zaa"],
    "(?P<日>a)(?P=日)": ["aa", "a"],
    r"(?#said)a(?:b)": ["ab", "b"],
    "(?x) a b # c\n c[ ]": ["abc ", "a b c ", "abc"],
    r"(?ai:A)(?-i:b)(?u:c)": ["abc", "aBc"],
    r"\N{LATIN SMALL LETTER A}[\N{DIGIT ONE}-3]": ["a2", "a4"],
    r"\U00000041[\U0001F600x]": ["A😀", "Ax", "A"],
    r"^\07\0\101[\101-\103]$": ["\x07\0AB", "\x07\0AD"],
    r"^a{,3}b{2}c{1,}\{,2\}$": ["aabbc{,2}", "aaaabbc{,2}", "bbcc{,2}"],
    "a{": ["a{", "a"],
    "^]a}$": ["]a}", "a"],
    "^[]a]b$": ["]b", "ab", "bb"],
    "[^]a]": ["b", "]", "a"],
    r"^[\]a\b]$": ["]", "a", "\b", "b"],
    r"(?m)^b": ["a\nb", "ab"],
    r"\a": ["\x07", "a"],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_of_pythons_checks_inputs_as_python_does(tmp_path: Path, pattern: str) -> None:
    found = document(tmp_path, pattern)["components"]["schemas"]["Input"]["properties"]["text"]
    checker = jsonschema_rs.Draft7Validator(found)
    for text in PATTERNS[pattern]:
        assert checker.is_valid(text) == bool(re.search(pattern, text)), (text, found["pattern"])


def document(root: Path, pattern: str, default: str = "") -> dict[str, Any]:
    given = f", default={default!r}" if default else ""
    (root / "run.py").write_text(
        f"from cog import Input\n\ndef run(text: str = Input(regex={pattern!r}{given})) -> str: ...\n"
    )
    return schema.read(root, "run.py:run")


@pytest.mark.parametrize("pattern", [r"^[^<]*$", r"^https?://[\w./-]+$", r"^\d{4}-\d{2}$", r"(a|b)+?(?=c)\1()"])
def test_a_pattern_that_means_the_same_in_both_stays_as_it_is_written(tmp_path: Path, pattern: str) -> None:
    assert document(tmp_path, pattern)["components"]["schemas"]["Input"]["properties"]["text"]["pattern"] == pattern


@pytest.mark.parametrize("pattern", [r"(?P<a>a)?(?(a)b|c)", r"(?>a+)b", r"a++b", r"a{2}+b", r"(?x: a b)"])
def test_a_pattern_without_words_in_json_schema_is_left_to_the_models_side(tmp_path: Path, pattern: str) -> None:
    found = document(tmp_path, pattern)
    assert "pattern" not in found["components"]["schemas"]["Input"]["properties"]["text"]
    assert found["x-modelyard-patterns"] == {"Input": {"text": pattern}}


def test_looking_back_over_any_length_and_backreferences_of_ecma_are_not_taken_for_a_mistake(tmp_path: Path) -> None:
    found = document(tmp_path, r"(?<=a|bc)(?<x>d)\k<x>", "bcdd")["components"]["schemas"]["Input"]["properties"]["text"]
    checker = jsonschema_rs.Draft7Validator(found)
    assert [checker.is_valid(text) for text in ("bcdd", "dd", "ad")] == [True, False, False]


def test_classes_of_unicode_are_not_taken_for_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(
        'from cog import Input\n\ndef run(text: str = Input(regex=r"^\\pL\\p{Ll}+$", default="Abc")) -> str: ...\n'
    )
    found = schema.read(tmp_path, "run.py:run")["components"]["schemas"]["Input"]["properties"]["text"]
    checker = jsonschema_rs.Draft7Validator(found)
    assert [checker.is_valid(text) for text in ("Élan", "élan", "E1")] == [True, True, False]
