"""Which files of a source are taken."""

from __future__ import annotations

import pytest

from modelyard.weights import filters


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("*.json", ("a.json", "x/y/a.json"), ("a.json5", "a.jso")),
        ("/*.json", ("a.json",), ("x/a.json",)),
        ("onnx/", ("onnx/a", "x/onnx/a/b"), ("onnx", "onnxa/b")),
        ("onnx", ("onnx", "onnx/a", "x/onnx/a"), ("onnxa",)),
        ("x/*.bin", ("x/a.bin",), ("a.bin", "x/y/a.bin", "z/x/a.bin")),
        ("x/**/a", ("x/a", "x/y/a", "x/y/z/a"), ("a", "y/x/b")),
        ("**/a", ("a", "x/a", "a/b"), ("ba",)),
        ("x/**", ("x/a", "x/y/z"), ("x", "y/x")),
        ("model-0000[1-3].bin", ("model-00001.bin", "q/model-00003.bin"), ("model-00004.bin",)),
        ("model-[!a].bin", ("model-b.bin",), ("model-a.bin",)),
        ("m?.bin", ("m1.bin",), ("m.bin", "m/.bin", "m12.bin")),
        ("a+b(c).txt", ("a+b(c).txt",), ("aab(c).txt",)),
        ("[", ("[",), ("x",)),
        ("café*", ("café.txt",), ("cafe.txt",)),
    ],
)
def test_a_pattern_matches_as_in_gitignore(pattern: str, taken: tuple[str, ...], left: tuple[str, ...]) -> None:
    included = filters.keeper([pattern], [])
    assert [path for path in (*taken, *left) if included(path)] == list(taken)
    excluded = filters.keeper([], [pattern])
    assert [path for path in (*taken, *left) if excluded(path)] == list(left)


def test_without_patterns_everything_is_taken_and_exclude_wins() -> None:
    assert filters.keeper([], [])("any/thing")
    keeps = filters.keeper(["*.json", "*.bin"], ["secret*"])
    assert [path for path in ("a.json", "b.bin", "c.txt", "secret.json") if keeps(path)] == ["a.json", "b.bin"]
