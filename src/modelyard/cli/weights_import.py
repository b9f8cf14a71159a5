"""`yard weights import`: bring the files that cog.yaml names, write weights.lock, and send them to the registry."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click

from modelyard import settings
from modelyard.cli import pace, progress, project, registries, words
from modelyard.cli.examples import examples
from modelyard.cli.project import Folder
from modelyard.cli.talk import Talk
from modelyard.oci.client.remote import Repository
from modelyard.weights import importing, lock, planning
from modelyard.weights.cache import Cache
from modelyard.weights.importing import Made
from modelyard.weights.lock import Lock
from modelyard.weights.planning import SIGNS, Kinds, Planned
from modelyard.weights.sources.base import Progress, Source
from modelyard.weights.sources.hub import Hub
from modelyard.weights.sources.local import Local
from modelyard.weights.sources.single import Single

# Where a project keeps what can be made again, and what one at a time may do there.
_FOLDER = ".cog"
_GUARD = "cog.lock"


@click.command(
    "import",
    short_help="Bring the files that cog.yaml names into the registry",
    epilog=examples("yard weights import --dry-run", "yard weights import", "yard weights import base"),
)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-f", "--file", metavar="FILE", help="The cog.yaml; else the one in this folder or above.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("-v", "--verbose", is_flag=True, help="Show each file.")
@click.pass_obj
def command(talk: Talk, /, *, names: Sequence[str], file: str | None, dry_run: bool, verbose: bool) -> None:
    """Bring the project's weights, or those called NAME, from their sources; write weights.lock; send them to `model`.

    What did not change since the last time is not moved again, and what was cut off goes on from where it was. The
    files are in this machine's store then, so the model runs here without `yard weights pull`.
    """
    found = project.locate(Path.cwd(), file, talk)
    chosen = planning.choose(found.config.weights, names)
    environ = settings.environment()
    wish, how = registries.resolve(found.config.model, environ), pace.read(environ)
    cache = Cache.of(environ)
    cache.note(lock.path_of(found.root))
    with _alone(found.root, talk):
        locked = lock.load(lock.path_of(found.root))
        local, single = Local(found.root), Single(cache)
        kinds: dict[str, Source] = {"file": local, "hf": Hub(environ), "https": single, "http": single}
        plan = planning.plan(chosen, locked, kinds)
        gone = [] if names else [one for one in lock.drift(found.config.weights, locked) if one.kind == "orphaned"]
        _tell_plan(plan, gone, talk, verbose=verbose)
        if dry_run:
            talk.say("Nothing was imported: this was a dry run.")
            return
        with registries.opened(wish, environ, how) as repository:
            _Import(found, plan, kinds, cache, repository, talk, how.at_once).run(
                locked or Lock(), everything=not names
            )


def _tell_plan(plan: Sequence[Planned], gone: Sequence[lock.Drift], talk: Talk, *, verbose: bool) -> None:
    for planned in plan:
        why = f" ({'; '.join(planned.reasons)})" if planned.reasons else ""
        talk.say(f"{SIGNS[planned.status]} {planned.weight.name}  {planned.uris} → {planned.weight.target}")
        talk.say(f"  status: {planned.status}{why}")
        talk.say(f"  files: {len(planned.files)}  size: {words.size(planned.size)}")
        for taken in planned.files if verbose else ():
            size = "size unknown" if taken.file.size is None else words.size(taken.file.size)
            talk.say(f"    {taken.file.path}  {size}")
    for orphan in gone:
        talk.say(f"- {orphan.name}  {orphan.text}")


class _Import(NamedTuple):
    """One run over what was planned."""

    found: Folder
    plan: list[Planned]
    kinds: Kinds
    cache: Cache
    repository: Repository
    talk: Talk
    at_once: int

    def run(self, locked: Lock, *, everything: bool) -> None:
        """Fetch, pack, write the lock, send. `everything`: weights that cog.yaml has no more leave the lock."""
        work = [each for each in self.plan if not importing.is_done(each, self.cache, self.repository)]
        if work:
            self.repository.check_push()  # before anything is brought and packed that nobody would take
        made = self._build(work) if work else []
        names = {weight.name for weight in self.found.config.weights}
        kept = names if everything else {weight.name for weight in locked.weights}
        now = locked.with_weights([each.locked for each in made], keep=kept)
        if now != locked or not lock.path_of(self.found.root).exists():
            lock.save(lock.path_of(self.found.root), now)
        if made:
            self._push(made)
        chosen = [weight for planned in self.plan if (weight := now.get(planned.weight.name)) is not None]
        self.talk.say(f"Imported {len(chosen)} weight artifact(s) to {self.repository.name}")
        self.talk.say(f"Total: {words.size(sum(weight.size for weight in chosen))}")

    def _build(self, work: Sequence[Planned]) -> list[Made]:
        self.talk.say(f"Building {len(work)} weight(s)...")
        made = []
        for planned in work:
            name = planned.weight.name
            total = sum(taken.file.size or 0 for taken in importing.missing(planned, self.cache))
            with self._bar(name, total) as advance:
                files = importing.fetch(planned, self.kinds, self.cache, advance)
            self.talk.say(f"{name}: Download complete")
            moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            one = importing.pack(planned, files, self.cache, moment)
            layers, size = len(one.locked.layers), words.size(one.locked.size)
            self.talk.say(f"  {name} -> {one.locked.target} ({layers} layer(s), {size})")
            made.append(one)
        return made

    def _push(self, made: Sequence[Made]) -> None:
        self.talk.say(f"Pushing {len(made)} weight(s) to {self.repository.name}...")
        for one in made:
            lacking = importing.lacking(one, self.repository)
            name, total = one.locked.name, sum(packed.locked.size for packed in lacking)
            with self._bar(name, total) as advance:
                tag = importing.send(one, lacking, self.repository, advance, most=self.at_once)
            self.talk.say(f"{name}: Pushed")
            self.talk.say(f"  {name}: {self.repository.name}:{tag}")

    @contextlib.contextmanager
    def _bar(self, word: str, total: int) -> Iterator[Progress]:
        watched = self.talk if total >= progress.WATCHED_BYTES else None
        with progress.bar(word, total, watched) as bar:
            yield bar.advance


@contextlib.contextmanager
def _alone(root: Path, talk: Talk) -> Iterator[None]:
    """Nobody else imports or builds in this project meanwhile."""
    (root / _FOLDER).mkdir(exist_ok=True)
    with (root / _FOLDER / _GUARD).open("ab") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            talk.say("Waiting for another command that works in this project...")
            fcntl.flock(guard, fcntl.LOCK_EX)
        yield
