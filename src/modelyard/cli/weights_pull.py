"""`yard weights pull`: bring the files that weights.lock names to this machine."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import click

from modelyard import settings
from modelyard.cli import program, progress, project, registries, words
from modelyard.cli.examples import examples
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError
from modelyard.oci.client import remote
from modelyard.weights import lock, pulling
from modelyard.weights.cache import Cache
from modelyard.weights.lock import LockedFile
from modelyard.weights.pulling import Wanted


@click.command(
    "pull",
    short_help="Bring the files of weights.lock to this machine",
    epilog=examples("yard weights pull", "yard weights pull base", "yard weights pull -v"),
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-f", "--file", metavar="FILE", help="The cog.yaml; else the one in this folder or above.")
@click.option("-v", "--verbose", is_flag=True, help="Show each layer and file.")
@click.pass_obj
def command(talk: Talk, /, *, names: Sequence[str], file: str | None, verbose: bool) -> int:
    """Bring the files of the project's weights, or of those called NAME, from the registry into this machine's store.

    Only what the store lacks is brought, checked by its digest. Cut off, it goes on another time from where it was.
    """
    found = project.locate(Path.cwd(), file, talk)
    if not found.config.weights:
        raise UsageError("no weights defined in cog.yaml", hint="docs/guides/weights.md shows how")
    path = lock.path_of(found.root)
    locked = lock.load(path)
    if locked is None:
        lock.require_sync(found.config.weights, None, program.name())
        return 1
    environ = settings.environment()
    cache = Cache.of(environ)
    cache.note(path)
    chosen = pulling.choose(locked, names)
    if verbose:
        talk.say(f"Cache:    {cache.root / 'files'}")
        talk.say(f"Lockfile: {path}")
    pulled = []
    with contextlib.ExitStack() as stack:
        repository: remote.Repository | None = None
        for weight in chosen:
            # Looked at in its turn: the one before may have brought what both have.
            wanted = pulling.look(weight, cache)
            if not wanted.missing:
                count = len(weight.files)
                talk.say(f"Pulling {weight.name}... cached ({count}/{count} files)")
                continue
            if repository is None:
                wish = registries.resolve(found.config.model, environ)
                repository = stack.enter_context(registries.opened(wish, environ))
            _pull(wanted, cache, repository, talk, verbose=verbose)
            pulled.append(wanted)
    talk.say(_sum(pulled, len(chosen)))
    return 0


def _sum(pulled: Sequence[Wanted], chosen: int) -> str:
    if not pulled:
        return f"All {chosen} weight(s) already cached."
    size = words.size(sum(wanted.size for wanted in pulled))
    files, layers = sum(len(wanted.missing) for wanted in pulled), sum(len(wanted.layers) for wanted in pulled)
    return (
        f"Pulled {size} across {files} file(s) / {layers} layer(s) for {len(pulled)} weight(s); "
        f"{chosen - len(pulled)} already cached."
    )


def _pull(wanted: Wanted, cache: Cache, repository: remote.Repository, talk: Talk, *, verbose: bool) -> None:
    name, files = wanted.weight.name, f"{len(wanted.missing)} file(s)"
    if verbose:
        _show(wanted, repository.name, talk)
    talk.say(f"Pulling {name}... ({files})")

    def done(file: LockedFile) -> None:
        talk.say(f"{_short(file.digest)}-{hashlib.sha256(file.path.encode()).hexdigest()[:8]}: Download complete")

    watched = wanted.transfer >= progress.WATCHED_BYTES
    with progress.bar("Pulling", wanted.transfer, talk if watched else None) as bar:
        pulling.pull(wanted, cache, repository, done=done, progress=bar.advance)
    talk.say(f"Pulling {name}... done ({words.size(wanted.size)}, {files}, {len(wanted.layers)} layer(s))")


def _show(wanted: Wanted, repository: str, talk: Talk) -> None:
    weight = wanted.weight
    talk.say(f"Pulling {weight.name} -> {weight.target}")
    talk.say(f"  manifest: {repository}@{weight.digest}")
    talk.say(f"  files:    {len(wanted.missing)} missing / {len(weight.files)} total")
    for layer in wanted.layers:
        talk.say(f"  layer {_short(layer.digest)} ({words.size(layer.size)})")
        for file in wanted.missing_in(layer):
            talk.say(f"    {file.path} ({words.size(file.size)}) {_short(file.digest)}")


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
