"""`yard weights status`: which weights are imported, as cog.yaml says and as the registry has them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from modelyard import settings
from modelyard.cli import project, registries, table, words
from modelyard.cli.examples import examples
from modelyard.cli.table import Column, Row
from modelyard.cli.talk import Talk, result, result_json
from modelyard.errors import UsageError
from modelyard.oci.client import remote
from modelyard.packaging.config import Weight
from modelyard.weights import lock, planning
from modelyard.weights.cache import Cache
from modelyard.weights.lock import Drift, LockedWeight
from modelyard.weights.sources.local import Local

_COLOURS = {"ready": "green", "incomplete": "yellow", "pending": "yellow", "stale": "yellow", "orphaned": "red"}
_COLUMNS = (
    Column("NAME"),
    Column("TARGET", elastic=True),
    Column("STATUS", colours=_COLOURS),
    Column("SIZE", right=True),
    Column("LAYERS", right=True),
    Column("DIGEST"),
    # Beside the columns that Cog has, which scripts cut out by their place.
    Column("HERE", right=True),
)


class _State(NamedTuple):
    """A weight of cog.yaml or of the lock. `why`: what is not as it should be; `here`: how many files the store has.

    `changed`: its folders here that are not what was imported.
    """

    name: str
    target: str
    status: str
    why: str
    locked: LockedWeight | None
    here: int
    changed: tuple[str, ...]


@click.command(
    "status",
    short_help="Say which weights are imported",
    epilog=examples("yard weights status", "yard weights status -v", "yard weights status --json"),
)
@click.option("-f", "--file", metavar="FILE", help="The cog.yaml; else the one in this folder or above.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Show reasons, what is on this machine, and each layer.")
@click.pass_obj
def command(talk: Talk, /, *, file: str | None, as_json: bool, verbose: bool) -> int:
    """Show the project's weights: ready, incomplete (not in the registry), stale (cog.yaml says something else now),
    pending (not imported yet) or orphaned (not in cog.yaml any more). HERE: how many of its files this machine has.
    The exit status is 1 unless all are ready.
    """
    found = project.locate(Path.cwd(), file, talk)
    locked = lock.load(lock.path_of(found.root))
    if not found.config.weights and not (locked and locked.weights):
        raise UsageError("no weights defined in cog.yaml", hint="docs/guides/weights.md shows how")
    environ = settings.environment()
    states = _states(found.config.weights, locked, Cache.of(environ), Local(found.root))
    if any(state.status == "ready" for state in states):
        wish = registries.resolve(found.config.model, environ)
        with registries.opened(wish, environ) as repository:
            states = [_asked(state, repository) for state in states]
    if as_json:
        result_json({"weights": [_json(state) for state in states]})
    else:
        _show(states, talk.on(sys.stdout), verbose=verbose)
    for state in states:
        for uri in state.changed:
            talk.say(f"note: {state.name}: {uri} changed since its import, which is what runs; import again to take it")
    return 0 if all(state.status == "ready" for state in states) else 1


def _states(weights: Sequence[Weight], locked: lock.Lock | None, cache: Cache, local: Local) -> list[_State]:
    drifts = {one.name: one for one in lock.drift(weights, locked)}
    targets = {weight.name: weight.target for weight in weights}
    targets |= {one.name: one.target for one in (locked.weights if locked else ()) if one.name not in targets}
    states = [_state(name, target, drifts.get(name), locked, cache) for name, target in targets.items()]
    return [
        state._replace(changed=planning.changed(state.locked, local))
        if state.locked is not None and state.status == "ready"
        else state
        for state in states
    ]


def _state(name: str, target: str, drift: Drift | None, locked: lock.Lock | None, cache: Cache) -> _State:
    known = locked.get(name) if locked else None
    here = sum(cache.has(file.digest, file.size) for file in known.files) if known else 0
    status, why = (drift.kind, drift.text) if drift else ("ready", "")
    return _State(name, target, status, why, known, here, ())


def _asked(state: _State, repository: remote.Repository) -> _State:
    """Whether what is locked is in the registry too."""
    locked = state.locked
    if state.status != "ready" or locked is None:
        return state
    if not repository.has_manifest(locked.digest):
        return state._replace(status="incomplete", why=f"{repository.name} has no {locked.digest}")
    lost = [layer for layer in locked.layers if not repository.has(layer.digest)]
    if lost:
        count = f"{len(lost)} of {len(locked.layers)} layer(s)"
        return state._replace(status="incomplete", why=f"{repository.name} lacks {count}")
    return state


def _show(states: Sequence[_State], out: Talk, *, verbose: bool) -> None:
    rows = []
    for state in states:
        known = state.locked
        facts = (words.size(known.size), str(len(known.layers)), known.digest[7:19]) if known else ("-", "-", "-")
        here = f"{state.here}/{len(known.files)}" if known else "-"
        cells = (state.name, state.target, state.status, *facts, here)
        rows.append(Row(cells, tuple(_under(state)) if verbose else ()))
    for line in table.lines(_COLUMNS, rows, width=table.width_of(sys.stdout), paint=out.paint):
        result(line)


def _under(state: _State) -> list[str]:
    lines = [state.why] if state.why else []
    if state.locked is None:
        return lines
    lines.append(f"on this machine: {state.here} of {len(state.locked.files)} file(s)")
    return lines + [f"layer {layer.digest[7:19]}  {words.size(layer.size)}" for layer in state.locked.layers]


def _json(state: _State) -> dict[str, Any]:
    known = state.locked
    shown: dict[str, Any] = {"name": state.name, "target": state.target, "status": state.status}
    if state.why:
        shown["reason"] = state.why
    if state.changed:
        shown["changedSources"] = list(state.changed)
    if known is not None:
        shown |= {
            "size": known.size,
            "sizeCompressed": known.size_compressed,
            "digest": known.digest,
            "importedAt": known.imported_at,
            "files": len(known.files),
            "cachedFiles": state.here,
            "layers": [{"digest": layer.digest, "size": layer.size} for layer in known.layers],
        }
    return shown
