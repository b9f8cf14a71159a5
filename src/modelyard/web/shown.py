"""What a value is to a reader: text, a picture, sound, a film, a file, a table, or JSON that folds.

Everything is cut to what a page stays quick with, and what was cut is counted, so that the page can say so.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

# A page shows this much of a value; the rest is a download away.
TEXT_CHARACTERS = 200_000
MEDIA = 60
ROWS = 200
COLUMNS = 12
NODES = 1500
LEAF_CHARACTERS = 2000
# Longer JSON is not even looked into.
READ_BYTES = 32 * 1024 * 1024

_ENDINGS = {
    "image": ("png", "jpg", "jpeg", "gif", "webp", "avif", "bmp"),
    "audio": ("wav", "mp3", "flac", "ogg", "oga", "opus", "m4a", "aac"),
    "video": ("mp4", "webm", "mov", "m4v", "mkv"),
}
_KINDS = {ending: kind for kind, endings in _ENDINGS.items() for ending in endings}
_DATA = re.compile(r"data:(?:(image|audio|video)/(?!svg)([\w.+-]+)|[\w.+-]+/([\w.-]+)[\w.+-]*)(?:;[\w=.+-]+)*,")
_ADDRESS = re.compile(r"https?://[^\s/]+/\S*|/outputs/\S+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One value. `kind`: none, text, image, audio, video, file, link, media (many), table, fields, tree, long.

    `text`: what a leaf says; `address` and `name` of a file; `items` of many; `columns` of a table, whose `rows` are
    views; `total`: how many there are where fewer are shown; of a tree, how many are not.
    """

    kind: str
    text: str = ""
    address: str = ""
    name: str = ""
    items: tuple[View, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[View, ...], ...] = ()
    total: int = 0
    node: Node | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A part of JSON that folds. `name`: its key or place; `kind`: object, array or leaf; `cut`: parts not shown."""

    name: str
    kind: str
    text: str = ""
    parts: tuple[Node, ...] = ()
    count: int = 0
    cut: int = 0


def view(output: bytes | None, *, concatenate: bool = False, media: int = MEDIA) -> View:
    """An output (JSON, links under no origin) as it is shown."""
    if output is None or output == b"null":
        return View(kind="none")
    if len(output) > READ_BYTES:
        return View(kind="long", total=len(output))
    value = msgspec.json.decode(output)
    if concatenate and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return text("".join(value))
    return of(value, media=media)


def of(value: Any, *, media: int = MEDIA) -> View:
    """Any JSON value as it is shown."""
    if isinstance(value, str):
        return file_of(value) or text(value)
    if isinstance(value, list) and value:
        return _list(value, media)
    if isinstance(value, dict) and value and any(_holds_files(one) for one in value.values()):
        return _fields(value, media)
    if isinstance(value, dict | list):
        return tree(value)
    return text(msgspec.json.encode(value).decode())


def text(value: str) -> View:
    """A text, cut where it is too long."""
    return View(kind="text", text=value[:TEXT_CHARACTERS], total=len(value))


def file_of(value: str) -> View | None:
    """A file by its address; None where the text is none."""
    data = _DATA.match(value[:200])
    if data is not None:
        kind, ending = data[1] or "file", data[2] or data[3]
        return View(kind=kind, address=value, name=f"{kind}.{ending}", text=ending.upper())
    if len(value) > 4000 or not _ADDRESS.fullmatch(value):
        return None
    parts = urlsplit(value)
    name = unquote(posixpath.basename(parts.path)) or parts.netloc
    ours = not parts.netloc
    kind = _KINDS.get(name.rpartition(".")[2].lower(), "file")
    # What other sites hold is linked to: this page loads nothing from them.
    return View(kind=kind if ours else "link", address=value, name=name, text=name.rpartition(".")[2].upper())


def _list(values: list[Any], media: int) -> View:
    if all(isinstance(value, str) for value in values):
        files = [file_of(value) for value in values[:media]]
        if all(file is not None for file in files):
            return View(kind="media", items=tuple(file for file in files if file), total=len(values))
    if all(isinstance(value, dict) for value in values):
        return _table(values)
    return tree(values)


def _table(values: list[dict[str, Any]]) -> View:
    shown = values[:ROWS]
    columns = list(dict.fromkeys(key for value in shown for key in value))
    if not columns or len(columns) > COLUMNS:
        return tree(values)
    rows = tuple(tuple(_cell(value.get(column)) for column in columns) for value in shown)
    return View(kind="table", columns=tuple(columns), rows=rows, total=len(values))


def _cell(value: Any) -> View:
    if value is None:
        return View(kind="none")
    if isinstance(value, str):
        return file_of(value) or View(kind="text", text=value[:LEAF_CHARACTERS], total=len(value))
    if isinstance(value, dict | list):
        return tree(value, NODES // 20)
    return View(kind="number", text=msgspec.json.encode(value).decode())


def _holds_files(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_holds_files(one) for one in value[:MEDIA])
    return isinstance(value, str) and file_of(value) is not None


def _fields(value: Mapping[str, Any], media: int) -> View:
    names = list(value)[:ROWS]
    views = tuple(of(value[name], media=media) for name in names)
    return View(kind="fields", columns=tuple(names), items=views, total=len(value))


def tree(value: Any, nodes: int = NODES) -> View:
    """JSON that folds, of at most so many nodes, what lies deep left out first."""
    left = [nodes]
    node = _node("", value, left, depth=0)
    return View(kind="tree", node=node, total=_left_out(node))


def _left_out(node: Node) -> int:
    return node.cut * (node.kind != "leaf") + sum(_left_out(part) for part in node.parts)


def _node(name: str, value: Any, left: list[int], depth: int) -> Node:
    left[0] -= 1
    if not isinstance(value, dict | list) or not value:
        shown = msgspec.json.encode(value).decode()
        return Node(name=name, kind="leaf", text=shown[:LEAF_CHARACTERS], cut=max(0, len(shown) - LEAF_CHARACTERS))
    pairs = list(value.items()) if isinstance(value, dict) else [(str(i), one) for i, one in enumerate(value)]
    # Each level takes what its elders left; a long list may take most of it, but not all.
    most = max(0, min(len(pairs), left[0] if depth > 3 else left[0] - 1, 300))
    parts = []
    for key, one in pairs[:most]:
        if left[0] <= 0:
            break
        parts.append(_node(key, one, left, depth + 1))
    kind = "object" if isinstance(value, dict) else "array"
    return Node(name=name, kind=kind, parts=tuple(parts), count=len(pairs), cut=len(pairs) - len(parts))
