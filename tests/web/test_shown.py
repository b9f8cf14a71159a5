"""What a value is to a reader, and that nothing is too large for a page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelyard.web import shown
from modelyard.web.shown import Node, View

PNG = "data:image/png;base64,AAAA"
OURS = "/outputs/01m8bdszezzm3t4vp21ds8gzkk/0/abcdef"


def view(value: Any, **options: Any) -> View:
    return shown.view(json.dumps(value).encode(), **options)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "none"),
        ("words", "text"),
        ("", "text"),
        (5, "text"),
        (False, "text"),
        ({}, "tree"),
        ([], "tree"),
        ([1, 2], "tree"),
        (["a", "b"], "tree"),
        ({"a": 1}, "tree"),
        (PNG, "image"),
        ("data:audio/wav;base64,AAAA", "audio"),
        ("data:video/mp4;base64,AAAA", "video"),
        ("data:image/svg+xml,<svg onload=alert(1)>", "file"),
        ("data:text/html,<script>", "file"),
        ("data:text/csv;charset=utf-8;base64,AAAA", "file"),
        ("data: 5, 6", "text"),
        ("data:a,b", "text"),
        (f"{OURS}/a.PNG", "image"),
        (f"{OURS}/a.wav", "audio"),
        (f"{OURS}/a.webm", "video"),
        (f"{OURS}/a.svg", "file"),
        (f"{OURS}/a", "file"),
        ("https://example.org/a.png", "link"),
        ("javascript:alert(1)", "text"),
        ("https://example.org/a b", "text"),
        ("see https://example.org/a", "text"),
        ([PNG, PNG], "media"),
        ([PNG, "words"], "tree"),
        ([{"a": 1}, {"b": PNG}], "table"),
        ([{"a": 1}, 5], "tree"),
        ([{}], "tree"),
        ({"picture": PNG, "said": "words"}, "fields"),
        ({"pictures": [PNG]}, "fields"),
    ],
)
def test_a_value_is_shown_as_what_it_is(value: Any, kind: str) -> None:
    assert view(value).kind == kind


def test_pieces_of_a_text_are_one_text() -> None:
    made = view(["a", "b"], concatenate=True)
    assert (made.kind, made.text) == ("text", "ab")
    assert view(["a", 1], concatenate=True).kind == "tree"
    assert shown.view(None).kind == "none"


def test_what_other_sites_hold_is_linked_to_and_not_loaded() -> None:
    made = view(["https://example.org/a.png", f"{OURS}/b.png"])
    assert [item.kind for item in made.items] == ["link", "image"]
    assert view(f"{OURS}/two%20words.png").name == "two words.png"


def test_a_table_has_the_columns_of_all_rows_and_a_number_is_one() -> None:
    made = view([{"a": 1, "b": "x"}, {"c": None, "a": {"deep": []}}])
    assert made.columns == ("a", "b", "c")
    assert [cell.kind for cell in made.rows[0]] == ["number", "text", "none"]
    assert made.rows[1][0].kind == "tree"
    assert view([{str(i): i for i in range(shown.COLUMNS + 1)}]).kind == "tree"


def test_what_is_long_is_cut_and_counted() -> None:
    text = view("x" * 300_000)
    assert (len(text.text), text.total) == (shown.TEXT_CHARACTERS, 300_000)
    table = view([{"a": i} for i in range(5000)])
    assert (len(table.rows), table.total) == (shown.ROWS, 5000)
    media = view([PNG] * 500)
    assert (len(media.items), media.total) == (shown.MEDIA, 500)
    assert len(view([PNG] * 500, media=500).items) == 500
    long = shown.view(b'"' + b"x" * shown.READ_BYTES + b'"')
    assert (long.kind, long.total) == ("long", shown.READ_BYTES + 2)
    tree = view({"rows": [{"id": i, "text": "x" * 3000} for i in range(5000)]})
    assert tree.kind == "tree"
    assert tree.node is not None
    assert count(tree.node) <= shown.NODES
    assert tree.total > 0
    assert max(len(leaf.text) for leaf in leaves(tree.node)) <= shown.LEAF_CHARACTERS


def test_json_that_lies_deep_is_no_trouble() -> None:
    made = view(deep(200))
    assert made.node is not None
    assert count(made.node) <= shown.NODES


def deep(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


def count(node: Node) -> int:
    return 1 + sum(count(part) for part in node.parts)


def leaves(node: Node) -> list[Node]:
    return [node] if node.kind == "leaf" else [leaf for part in node.parts for leaf in leaves(part)]
