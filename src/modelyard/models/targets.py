"""What a caller names to be run, and how often it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from modelyard.accounts import Account
from modelyard.db.base import Database
from modelyard.models import statements
from modelyard.models.record import Target, is_version_id
from modelyard.models.service import Models

_REMEMBERED = 10_000
_RUNS_FLUSHED_SECONDS = 1.0


class Targets:
    """The three spellings of what to run: `VERSION`, `owner/name:VERSION`, `owner/name` (its latest version).

    Models of the same content have versions of the same id. A bare id then means the caller's own model, the one that
    got it last, and else the one that had it first: nobody's push takes over what others run, with other secrets in its
    environment.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self._known: dict[str, tuple[Target, ...]] = {}
        models.on_forget.append(self._known.clear)

    def peek(self, spelling: str, account: Account) -> Target | None:
        """What `get` said a moment ago, without asking anybody."""
        return _meant(self._known.get(spelling, ()), account)

    async def get(self, spelling: str, account: Account) -> Target | None:
        """What the spelling means to this account; None when that is nothing it may run."""
        known = self.peek(spelling, account)
        if known is not None:
            return known
        generation = self._models.generation
        found = await self._find(spelling)
        if found and generation == self._models.generation:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[spelling] = found
        return _meant(found, account)

    async def _find(self, spelling: str) -> tuple[Target, ...]:
        if is_version_id(spelling):
            models = await self._models.models_of(spelling)
            pairs = [(model, await self._models.version(spelling, model)) for model in models]
            return tuple(Target(model, version) for model, version in pairs if version is not None)
        full_name, _, version_id = spelling.partition(":")
        owner, _, name = full_name.partition("/")
        model = await self._models.get(owner, name)
        if model is None:
            return ()
        version = await (self._models.version(version_id, model) if version_id else self._models.latest(model))
        return () if version is None else (Target(model, version),)


def _meant(targets: tuple[Target, ...], account: Account) -> Target | None:
    """Of the caller's own the one that had it last, else the first that they may see."""
    own = [target for target in targets if target.model.owner == account.username]
    seen = own[-1:] or [target for target in targets if target.model.visible_to(account)]
    return seen[0] if seen else None


class RunCounter:
    """Counts the runs of models; written once a second, so a killed process may forget the last second's."""

    def __init__(self, db: Database, clock: Callable[[], int]) -> None:
        self._db = db
        self._clock = clock
        self._runs: dict[str, int] = {}

    def count(self, model_id: str) -> None:
        """One more run of this model."""
        if not self._runs:
            asyncio.get_running_loop().call_later(_RUNS_FLUSHED_SECONDS, self.flush)
        self._runs[model_id] = self._runs.get(model_id, 0) + 1

    def flush(self) -> None:
        """Hand the counted runs to the database."""
        runs, self._runs = self._runs, {}
        now = self._clock()
        for model_id, count in runs.items():
            written = self._db.run_nowait(statements.RAN, {"id": model_id, "runs": count, "at": now})
            written.add_done_callback(_ignore_failure)


def _ignore_failure(written: asyncio.Future[int]) -> None:
    # A count that a full or closing database refuses is not worth a word.
    if not written.cancelled():
        written.exception()
