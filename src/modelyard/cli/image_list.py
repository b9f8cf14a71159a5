"""`yard images`: what the registry of a yard keeps, and what each of it takes on the disk."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from modelyard import settings
from modelyard.cli import client, table, words
from modelyard.cli.examples import examples
from modelyard.cli.table import Column, Row
from modelyard.cli.talk import Talk, result, result_json

if TYPE_CHECKING:
    from modelyard.cli.engine_images import Image

_COLUMNS = (
    Column("MODEL", elastic=True),
    Column("VERSION"),
    Column("TAGS", elastic=True),
    Column("SIZE", right=True),
    Column("UNIQUE", right=True),
    Column("MADE", right=True),
)
_HERE = (
    Column("IMAGE", elastic=True),
    Column("SIZE", right=True),
    Column("UNIQUE", right=True),
    Column("MADE", right=True),
)
_LEFT = (
    Column("IMAGE", elastic=True),
    Column("SIZE", right=True),
    Column("UNIQUE", right=True),
    Column("MADE", right=True),
    Column("FOR", elastic=True),
)
_IN_ENGINE = (
    Column("MODEL", elastic=True),
    Column("VERSION"),
    Column("SIZE", right=True),
    Column("UNIQUE", right=True),
    Column("", elastic=True),
)


@click.command(
    "images",
    short_help="List what a yard's registry keeps, with sizes",
    epilog=examples("yard images", "yard images --json", "yard images --here"),
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--here", is_flag=True, help="List the images that builds keep on this machine instead.")
@click.pass_obj
def command(talk: Talk, /, as_json: bool, here: bool) -> int:
    """List the images of all versions, and the weights, that the registry of a running yard keeps.

    SIZE is all that belongs to one, UNIQUE what would be freed with it: layers that several have are kept once. `yard
    versions delete` takes a version away, `yard prune` frees what none needs any more. Where the yard runs containers,
    a second list says what their engine has of these images. Only the yard's owner may ask.

    With --here no yard is asked: it is what `yard build` keeps where there is no container engine, the layers in your
    cache that builds and pushes share, and the images that commands left in the Docker Engine for their next time.
    """
    if here:
        return _here(talk, as_json=as_json)
    login = client.required_login(settings.environment())
    found = client.call(login, "GET", "/v1/yard/images")
    if as_json:
        result_json(found)
        return 0
    if found["images"]:
        at = words.now()
        rows = [Row(_cells(one, at)) for one in found["images"]]
        _show(_COLUMNS, rows, talk)
    talk.say(summary(found))
    _tell_engine(found["engine_images"], talk)
    return 0


def _here(talk: Talk, *, as_json: bool) -> int:
    from modelyard.cli import bases, kept_here  # what only a few ask for, not everybody pays for

    seen = kept_here.look(bases.home(settings.environment()))
    loose = sum(thing.bytes for thing in seen.layers)
    left = _left_in_engine(talk)
    if as_json:
        images = [
            {"name": one.name, "digest": one.digest, "bytes": one.bytes, "unique_bytes": one.unique}
            for one in seen.images
        ]
        told = {"folder": str(seen.folder), "bytes": seen.bytes, "layer_bytes": loose, "images": images}
        result_json({**told, "engine_images": [_as_json(image, unique) for image, unique in left]})
        return 0
    if seen.images:
        at = words.now()
        rows = [
            Row([one.name, words.size(one.bytes), words.size(one.unique), words.span(max(0.0, at - one.made_at))])
            for one in seen.images
        ]
        _show(_HERE, rows, talk)
    whole = words.counted(len(seen.images), "image")
    talk.say(
        f"{whole} in {seen.folder}: {words.size(seen.bytes - loose)}; {words.size(loose)} more of layers that builds"
        " and pushes share (yard prune --here)."
    )
    if left:
        talk.say("Commands left images in the Docker Engine for their next time (yard prune --here):")
        _show(_LEFT, [_row(image, unique, words.now()) for image, unique in left], talk)
    return 0


def _left_in_engine(talk: Talk) -> list[tuple[Image, int]]:
    """The images that commands left in the engine, and what would be freed with each alone."""
    from modelyard.cli import docker, engine_images

    try:
        found = engine_images.look(settings.environment())
    except docker.EngineError as error:
        talk.warn(f"what the Docker Engine has of builds cannot be looked up: {error}")
        return []
    if found is None:
        return []
    seen = found[1]
    return [(image, seen.freed([image])[0]) for image in sorted(seen.images, key=lambda image: image.name)]


def _as_json(image: Image, unique: int) -> dict[str, Any]:
    told = {"name": image.name, "bytes": image.bytes, "unique_bytes": unique}
    return {**told, "project": image.project or None, "used": image.is_used}


def _row(image: Image, unique: int, at: float) -> Row:
    age = words.span(max(0.0, at - image.made_at))
    why = image.why_not_needed() or image.project or "all projects"
    return Row([image.name, words.size(image.bytes), words.size(unique), age, why])


def _tell_engine(images: list[dict[str, Any]], talk: Talk) -> None:
    """What the engine that makes containers has of them, besides."""
    if not images:
        return
    rows = [
        Row([one["name"], one["id"][:12], words.size(one["bytes"]), words.size(one["unique_bytes"]), _why(one)])
        for one in images
    ]
    talk.say("The container engine has its own copies:")
    _show(_IN_ENGINE, rows, talk)


def _show(columns: Sequence[Column], rows: Sequence[Row], talk: Talk) -> None:
    for line in table.lines(columns, rows, width=table.width_of(sys.stdout), paint=talk.paint):
        result(line)


def _why(image: dict[str, Any]) -> str:
    return "" if image["needed"] else "its version was deleted (yard prune)"


def _cells(one: dict[str, Any], at: float) -> list[str]:
    return [
        one["name"],
        one["id"][:12] if one["kind"] == "version" else "weights",
        ", ".join(one["tags"]),
        words.size(one["bytes"]),
        words.size(one["unique_bytes"]),
        words.age(one["created_at"], at),
    ]


def summary(found: dict[str, Any], why_left: str = "(yard prune --unused 0)") -> str:
    """What all of it takes, what is shared, and what could go. `why_left`: why that is still there."""
    together = sum(one["bytes"] for one in found["images"])
    kept = found["bytes"] - found["unneeded_bytes"]
    text = f"{words.counted(len(found['images']), 'image')}: {words.size(kept)} on the disk"
    if together > kept:
        text += f", {words.size(together)} if none shared its layers with another"
    if found["unneeded_bytes"]:
        text += f"; {words.size(found['unneeded_bytes'])} more that none of them needs {why_left}"
    return text + "."
