"""The housekeeper: cleans when asked, every hour by itself, and sooner when the disk gets short."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial

from modelyard import amounts, errors
from modelyard.api.base import Deps
from modelyard.db.base import Database
from modelyard.engines.base import Images
from modelyard.housekeeping import holdings
from modelyard.housekeeping.audit import Audit
from modelyard.housekeeping.data import Data, Run
from modelyard.housekeeping.disk import Disk, Places
from modelyard.housekeeping.policy import Policy
from modelyard.models.census import Census
from modelyard.registry.repositories import Repositories
from modelyard.registry.uploads import Uploads
from modelyard.scheduler import statements
from modelyard.settings import Settings
from modelyard.upkeep import Check, Checked, ListHoldings, Report, Wish
from modelyard.uses import Uses

log = logging.getLogger(__name__)

# A yard that has just started has better things to do.
START_SECONDS = 60.0
# How often the disk is looked at between two cleanings, and how long it is left alone after one that did not help.
LOOK_SECONDS = 30.0
SHORT_PAUSE_SECONDS = 900.0
# Below this share of free disk nothing unused is kept; at half of it the yard refuses new work.
SHORT_SHARE = 0.10
_ROWS = 500


class Housekeeper:
    """`clock`: microseconds since 1970; `free_share`: how much of the disk is free, 0 to 1.

    `quiet`: held while it cleans; whoever holds it keeps the disk as it is. `holdings`: what the registry keeps.
    """

    def __init__(
        self,
        *,
        found: Settings,
        db: Database,
        data: Data,
        disk: Disk,
        audit: Audit,
        look: ListHoldings,
        clock: Callable[[], int],
        free_share: Callable[[], float],
    ) -> None:
        self._found = found
        self._db = db
        self._data = data
        self._disk = disk
        self._audit = audit
        self.holdings = look
        self._clock = clock
        self._free_share = free_share
        self.quiet = asyncio.Lock()

    async def prune(self, wish: Wish) -> Report:
        """Clean, or say what would go. One at a time: a second one waits and then finds what is left."""
        async with self.quiet:
            report = Report(dry_run=wish.dry_run)
            policy = Policy.of(self._found, wish)
            run = Run(policy=policy, now=self._clock(), dry_run=wish.dry_run, report=report)
            if not wish.dry_run:
                await self._disk.empty_trash(run)
            for name, clean in (("predictions", self._data.clean), ("disk", self._disk.clean)):
                try:
                    await clean(run)
                except (errors.ModelyardError, OSError) as error:
                    report.fail(name, name, f"it was given up in the middle: {error}")
            if not wish.dry_run:
                await self._forget_instances(run)
            return report

    async def check(self, wish: Check) -> Checked:
        """Look whether the store is whole, and mend it where that is wished."""
        async with self.quiet:
            return await self._audit.run(wish)

    async def _forget_instances(self, run: Run) -> None:
        before = run.policy.keep_logs.before(run.now)
        while await self._db.run(statements.FORGET_INSTANCES, {"before": before, "limit": _ROWS}) == _ROWS:
            await asyncio.sleep(0)

    def close(self) -> None:
        """The yard ends, and does not wait for large folders to be deleted."""
        self._disk.stop()

    async def run(self) -> None:
        """Clean by itself until cancelled; `housekeeping_seconds` of 0: never."""
        every = self._found.housekeeping_seconds
        if every <= 0:
            return
        await asyncio.sleep(min(START_SECONDS, every))
        while True:
            try:
                await self._clean()
            except Exception:  # one bad cleaning must not be the last
                log.exception("housekeeping failed")
            await self._wait(every)

    async def _clean(self) -> None:
        short = self._free_share() < SHORT_SHARE
        began = time.monotonic()
        report = await self.prune(Wish(unused=amounts.size("0") if short else None))
        for failure in report.failures:
            log.warning("housekeeping: %s %s stays: %s", failure.kind, failure.name, failure.problem)
        if report.count:
            log.info("housekeeping: %s, in %.1f s", summary(report), time.monotonic() - began)

    async def _wait(self, seconds: float) -> None:
        """Until the next cleaning is due; sooner while the disk is short."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (left := began + seconds - loop.time()) > 0:
            await asyncio.sleep(min(LOOK_SECONDS, left))
            if loop.time() - began >= SHORT_PAUSE_SECONDS and self._free_share() < SHORT_SHARE:
                return


def make_housekeeper(
    found: Settings,
    db: Database,
    deps: Deps,
    *,
    uploads: Uploads,
    asked: Uses,
    relied_on: Uses,
    free_share: Callable[[], float],
    images: Images | None = None,
) -> Housekeeper:
    """A housekeeper of a yard's data folder. `asked`: the inputs, `relied_on`: the images that are about to be used;
    `images`: what an engine of containers has of them."""
    repositories, census = Repositories(db, deps.clock), Census(db)
    disk = Disk(
        places=Places(**{name: found.data / name for name in ("store", "caches", "instances", "uploads", "backups")}),
        blobs=deps.blobs,
        models=deps.models,
        census=census,
        repositories=repositories,
        uploads=uploads,
        machine=deps.machine,
        uses=relied_on,
        images=images,
    )
    data = Data(deps.removal, deps.files, deps.blobs, asked)
    audit = Audit(blobs=deps.blobs, census=census, repositories=repositories, uses=relied_on, clock=deps.clock)
    look = partial(holdings.look, deps.blobs, census, repositories, images)
    return Housekeeper(
        found=found, db=db, data=data, disk=disk, audit=audit, look=look, clock=deps.clock, free_share=free_share
    )


def summary(report: Report) -> str:
    """`removed 12 outputs, 3 environments: 1.2 GB`."""
    counts = ", ".join(f"{total.count} {kind}" for kind, total in sorted(report.totals.items()))
    verb = "would remove" if report.dry_run else "removed"
    return f"{verb} {counts or 'nothing'}: {amounts.size_text(report.bytes)}"
