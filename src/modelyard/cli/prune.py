"""`yard prune`: what a running yard would clear away, or clears away, now."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from modelyard import amounts, settings
from modelyard.cli import client, image_list, words
from modelyard.cli.examples import examples
from modelyard.cli.talk import Talk, result, result_json
from modelyard.errors import ModelyardError, UsageError

if TYPE_CHECKING:
    from modelyard.cli.engine_images import Image

# A first cleaning of a large yard walks many folders.
_TIMEOUT_SECONDS = 3600.0
# Lines of one kind in the table; the largest are shown, the rest is counted.
_SHOWN = 20
# What of a user's own cache stays, unless somebody says otherwise.
_HERE = "30d"


@click.command(
    "prune",
    short_help="Remove what is old or unused from a yard",
    epilog=examples(
        "yard prune --dry-run",
        "yard prune",
        "yard prune --older-than 12h --dry-run",
        "yard prune --unused 0",
        "yard prune --dry-run --json",
        "yard prune --here --older-than 7d",
    ),
)
@click.option("--dry-run", is_flag=True, help="Only say what would go, why, and how many bytes.")
@click.option(
    "--older-than",
    metavar="DURATION",
    help="Remove outputs and files of this age (`12h`, `30d`), instead of what keep_outputs and keep_files say.",
)
@click.option(
    "--unused",
    metavar="SIZE",
    help="Keep this much of what no version needs (`5GB`, `0`), instead of what keep_unused says.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--here", is_flag=True, help="Clear what builds and pushes keep on this machine instead.")
@click.option("--all", "everything", is_flag=True, help="With --here: images that builds keep under names go, too.")
@click.pass_obj
def command(
    talk: Talk,
    /,
    *,
    dry_run: bool,
    older_than: str | None,
    unused: str | None,
    as_json: bool,
    here: bool,
    everything: bool,
) -> int:
    """Remove what is old or unused from a running yard: outputs and files by age, layers, environments, sources and
    caches that no version needs beyond a size, logs and scratch of instances that are gone, unfinished uploads.

    The yard does this by itself every hour, as its settings say (`keep_outputs`, `keep_files`, `keep_unused` and
    others). What a version needs, and what a waiting or running prediction uses, never goes. Only the yard's owner may
    ask. Where it runs containers, images of deleted versions go from their engine as well.

    With --here no yard is asked: of the layers that `yard build` and `yard push` keep in your cache, those go that were
    not used for 30 days, or for what --older-than says, and that no image has which a build keeps. They are made or
    fetched again when they are wanted. With --all the images go as well, and with them their layers of any age, or
    of the one that --older-than says.

    So do images that commands left in the Docker Engine here for their next time (modelyard/run, modelyard/base and
    such): those of projects that are no more, and those of none that are as old; with --all each that no container is
    made of. What has no label of ours, or another name, is never touched.

    Exit status 1 when something could not be removed.
    """
    if everything and not here:
        raise UsageError("--all is for --here", hint="yard prune --here --all")
    if here:
        if unused is not None:
            raise UsageError("--unused is for a yard; with --here, --older-than says what goes")
        return _here(talk, dry_run=dry_run, older_than=older_than, everything=everything, as_json=as_json)
    body: dict[str, Any] = {"dry_run": dry_run}
    for name, flag, value, read in (
        ("older_than", "--older-than", older_than, amounts.duration),
        ("unused", "--unused", unused, amounts.size),
    ):
        if value is not None:
            body[name] = _checked(flag, value, read)
    login = client.required_login(settings.environment())
    report = client.call(login, "POST", "/v1/yard/prune", body, timeout_seconds=_TIMEOUT_SECONDS)
    if as_json:
        result_json(report)
    else:
        show(report, talk)
        kept = client.call(login, "GET", "/v1/yard/images")
        talk.say("The registry keeps " + image_list.summary(kept, *([] if dry_run else [_why_left(body)])))
    return 1 if report["failures"] else 0


def _why_left(asked: dict[str, Any]) -> str:
    """Why something is there that nobody needs, and that was not removed just now."""
    if "unused" not in asked:
        return "and keep_unused lets stay, or that just came (yard prune --unused 0)"
    return f"and --unused {asked['unused']} lets stay, or that just came"


def _here(talk: Talk, *, dry_run: bool, older_than: str | None, everything: bool, as_json: bool) -> int:
    # What only a few ask for, not everybody pays for.
    from modelyard.cli import bases, kept_here
    from modelyard.oci.layout import Layout

    age = amounts.duration(_checked("--older-than", older_than or _HERE, amounts.duration))
    folder, now = bases.home(settings.environment()), words.now()
    before = now - age.seconds
    seen = kept_here.look(folder)
    whys = {"leftovers": "somebody was ended while it was made", "images": "asked for: --all"}
    going = seen.going(before, now)
    if everything:
        going = [*seen.named(before if older_than else math.inf), *going]
        if not dry_run:
            Layout(folder).forget()
    things = (
        Going(one.kind, one.name, one.bytes, whys.get(one.kind, f"not used for {age}"), partial(kept_here.remove, one))
        for one in going
    )
    in_engine = _in_engine(before if older_than or not everything else math.inf, str(age), talk, everything=everything)
    report = clear([*things, *in_engine], dry_run=dry_run)
    if as_json:
        result_json(report)
    else:
        show(report, talk)
    return 1 if report["failures"] else 0


def _in_engine(before: float, age: str, talk: Talk, *, everything: bool) -> Iterator[Going]:
    """What goes of the images that commands left in the engine."""
    from modelyard.cli import docker, engine_images  # what only a few ask for, not everybody pays for

    try:
        found = engine_images.look(settings.environment())
    except docker.EngineError as error:
        talk.warn(f"what the Docker Engine has of builds cannot be looked up, so it stays: {error}")
        return
    if found is None:
        return
    engine, seen = found
    going = {image: _why(image, before, age, everything=everything) for image in seen.images}
    chosen = [image for image, why in going.items() if why]
    for image, size in zip(chosen, seen.freed(chosen), strict=True):
        yield Going("engine", image.name, size, going[image], partial(engine_images.remove, image, engine))


def _why(image: Image, before: float, age: str, *, everything: bool) -> str:
    """Why an image goes from the engine; "" where it stays."""
    if image.is_used:
        return ""
    if everything:
        return "asked for: --all" if image.made_at <= before else ""
    if image.project:
        return image.why_not_needed()
    return f"made more than {age} ago" if image.made_at <= before else ""


class Going(NamedTuple):
    """What goes from this machine. `remove` raises OSError or EngineError where it cannot."""

    kind: str
    name: str
    bytes: int
    why: str
    remove: Callable[[], None]


def clear(things: Iterable[Going], *, dry_run: bool) -> dict[str, Any]:
    """Remove them, or only say so; the report is like that of a yard."""
    report: dict[str, Any] = {"dry_run": dry_run, "count": 0, "bytes": 0, "totals": {}, "items": [], "failures": []}
    for thing in things:
        try:
            if not dry_run:
                thing.remove()
        except (OSError, ModelyardError) as error:
            problem = f"{error.strerror or error}: {error.filename}" if isinstance(error, OSError) else str(error)
            report["failures"].append({"kind": thing.kind, "name": thing.name, "problem": problem})
        else:
            _add(report, {"kind": thing.kind, "name": thing.name, "bytes": thing.bytes, "why": thing.why})
    return report


def _add(report: dict[str, Any], item: dict[str, Any]) -> None:
    total = report["totals"].setdefault(item["kind"], {"count": 0, "bytes": 0})
    for sums in (total, report):
        sums["count"] += 1
        sums["bytes"] += item["bytes"]
    report["items"].append(item)


def _checked(flag: str, value: str, read: Callable[[object], object]) -> str:
    try:
        return str(read(value))
    except ValueError as wanted:
        raise UsageError(f"{flag} is {value!r}; wanted: {wanted}") from None


def show(report: dict[str, Any], talk: Talk) -> None:
    """Print a report, and its sum."""
    for line in table(report):
        result(line)
    for failure in report["failures"]:
        talk.warn(f"{failure['kind']} {failure['name']} stays: {failure['problem']}")
    size = words.size(report["bytes"])
    if not report["count"]:
        talk.say("Nothing to remove.")
    elif report["dry_run"]:
        talk.say(f"{_things(report['count'])} would go: {size}. Nothing was removed; without --dry-run it is.")
    else:
        talk.say(f"Removed {_things(report['count'])}: {size}.")


def _things(count: int) -> str:
    return "1 thing" if count == 1 else f"{count:,} things"


def table(report: dict[str, Any]) -> list[str]:
    """The lines of a report: kind, name, bytes and why; of each kind the largest, and the sum of the rest."""
    rows = [("KIND", "NAME", "SIZE", "WHY")] if report["count"] else []
    for kind, total in report["totals"].items():
        items = sorted((item for item in report["items"] if item["kind"] == kind), key=_largest_first)
        rows += [(kind, item["name"], words.size(item["bytes"]), item["why"]) for item in items[:_SHOWN]]
        rest = total["count"] - min(len(items), _SHOWN)
        if rest > 0:
            left = total["bytes"] - sum(item["bytes"] for item in items[:_SHOWN])
            rows.append((kind, f"and {rest:,} more", words.size(left), ""))
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return [
        f"{kind:<{widths[0]}}  {name:<{widths[1]}}  {size:>{widths[2]}}  {why}".rstrip()
        for kind, name, size, why in rows
    ]


def _largest_first(item: dict[str, Any]) -> tuple[int, str]:
    return -int(item["bytes"]), str(item["name"])
