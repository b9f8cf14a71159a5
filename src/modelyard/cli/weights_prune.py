"""`yard weights prune`: frees what of this machine's weights no project needs."""

from __future__ import annotations

import time
from functools import partial

import click

from modelyard import amounts, settings
from modelyard.cli import prune
from modelyard.cli.examples import examples
from modelyard.cli.prune import Going
from modelyard.cli.talk import Talk, result_json
from modelyard.errors import UsageError
from modelyard.weights import pruning
from modelyard.weights.cache import Cache
from modelyard.weights.pruning import Unneeded


@click.command(
    "prune",
    short_help="Remove weights that no project on this machine needs",
    epilog=examples("yard weights prune --dry-run", "yard weights prune", "yard weights prune --older-than 1d"),
)
@click.option("--dry-run", is_flag=True, help="Only say what would go, why, and how many bytes.")
@click.option(
    "--older-than",
    default="30d",
    metavar="DURATION",
    help="Remove what was not used for so long (`12h`, `30d`), an hour at least.  [default: 30d]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def command(talk: Talk, /, *, dry_run: bool, older_than: str, as_json: bool) -> int:
    """Remove from this machine's store the files that no project needs, and what broken-off downloads left.

    What a newer import took the place of goes. What a model that runs here sees stays, and what the weights.lock of any
    project names that was imported, pulled, run or pushed here. `yard weights pull` brings again what is missed.

    Exit status 1 when something could not be removed.
    """
    try:
        age = amounts.duration(older_than)
    except ValueError as wanted:
        raise UsageError(f"--older-than is {older_than!r}; wanted: {wanted}") from None
    found = pruning.look(Cache.of(settings.environment()), now=time.time(), unused=age.seconds)
    report = prune.clear(map(_going, found), dry_run=dry_run)
    if as_json:
        result_json(report)
    else:
        prune.show(report, talk)
    return 1 if report["failures"] else 0


def _going(each: Unneeded) -> Going:
    remove = partial(each.path.unlink, missing_ok=True)
    return Going(each.kind, each.path.name[:12], each.bytes, each.why, remove)
