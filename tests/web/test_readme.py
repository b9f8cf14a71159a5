"""A README becomes markup that can do no harm."""

from __future__ import annotations

import re

import pytest

from modelyard.web import readme

_TAG = re.compile(r"<(/?[a-z0-9]+)([^>]*)>", re.IGNORECASE)
ATTACKS = [
    "<script>pwned()</script>",
    "<img src=x onerror=pwned()>",
    "<svg/onload=pwned()>",
    "[a](javascript:pwned())",
    "[a](JaVaScRiPt:pwned())",
    "[a](java\tscript:pwned())",
    "[a](&#x6A;avascript:pwned())",
    "[a](data:text/html,<script>pwned()</script>)",
    "[a](vbscript:pwned())",
    "![a](javascript:pwned())",
    '![a](https://example.org/" onerror="pwned())',
    '[a](https://example.org/ "x\\" onmouseover=\\"pwned()")',
    "<javascript:pwned()>",
    "[a]: javascript:pwned()\n\n[a]",
    "`<b onclick=pwned()>`",
    "```html onload=pwned()\n<script>pwned()</script>\n```",
    "<iframe src=javascript:pwned()></iframe>",
    "<style>*{display:none}</style>",
    "<a href='#' style='position:fixed'>x</a>",
    "| <th onclick=pwned()> |\n|---|\n| <td onclick=pwned()> |",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_known_attacks_are_text_or_nothing(attack: str) -> None:
    for tag, attributes in _TAG.findall(readme.render(attack)):
        assert tag.lstrip("/") in readme._TAGS
        names = re.findall(r'([\w-]+)="[^"]*"', attributes)
        assert set(names) <= {"href", "title", "rel", "align", "start"}
        for address in re.findall(r'href="([^"]*)"', attributes):
            assert not re.match(r"\s*(javascript|data|vbscript)", address, re.IGNORECASE), address


def test_what_people_write_is_kept() -> None:
    made = readme.render("# Title\n\n- **one**\n\n| a |\n|---|\n| `b` |\n\n~~old~~ [there](https://example.org/)")
    for wanted in ("<h1>Title</h1>", "<strong>one</strong>", "<td><code>b</code></td>", "<s>old</s>"):
        assert wanted in made
    assert '<a href="https://example.org/" rel="noopener noreferrer nofollow">there</a>' in made


def test_a_picture_is_linked_to_and_not_loaded() -> None:
    made = readme.render("![A cat](https://example.org/cat.png)")
    assert "<img" not in made
    assert '<a href="https://example.org/cat.png"' in made
    assert "A cat" in made


def test_a_readme_without_end_is_cut_and_says_so() -> None:
    assert "The rest is cut." in readme.render("word " * 100_000)
    assert "The rest is cut." not in readme.render("word")


def test_many_brackets_cost_no_time() -> None:
    assert readme.render("[" * 50_000 + "*" * 50_000 + ">" * 2000)
