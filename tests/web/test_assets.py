"""What browsers are sent: nothing that was changed after it was published, nothing that needs another site."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from modelyard.web import assets

STATIC = assets.FOLDER
_LITERAL = re.compile(r"#[0-9a-f]{3,8}\b|\brgba?\(|\bhsla?\(|\boklch\(", re.IGNORECASE)


def test_what_others_wrote_is_as_they_published_it() -> None:
    lines = (STATIC / "vendored.txt").read_text().splitlines()
    assert lines
    for line in lines:
        name, wanted = line.split()[0], line.rpartition("sha256:")[2]
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == wanted


def test_a_colour_is_written_in_one_place() -> None:
    assert not _LITERAL.findall((STATIC / "site.css").read_text())
    assert _LITERAL.search((STATIC / "tokens.css").read_text())


def test_every_token_that_is_used_is_defined() -> None:
    tokens, styles = ((STATIC / name).read_text() for name in ("tokens.css", "site.css"))
    defined = set(re.findall(r"^\s*(--[\w-]+):", tokens, re.MULTILINE))
    used = set(re.findall(r"var\((--[\w-]+)\)", tokens + styles))
    assert used == defined


def test_no_page_asks_another_site_for_anything() -> None:
    for path in [*STATIC.rglob("*.css"), *Path(STATIC.parent, "templates").glob("*.html")]:
        assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", path.read_text()), path.name


def test_scripts_fit_their_budget() -> None:
    _, found = assets.load()
    scripts = sum(len(asset.packed) for name, asset in found.items() if name.endswith(".js"))
    assert scripts < 40_000
