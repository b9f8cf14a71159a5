"""What housekeeping is asked and what it answers, as data. Doors know these shapes; `app` hands them who does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from modelyard import errors
from modelyard.amounts import Duration, Size

# Of each kind, a report names this many; it counts all.
NAMED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One cleaning. `dry_run`: only say what would go. None: as the settings say.

    `older_than`: the age at which outputs and files go; `unused`: how much of what nothing refers to may stay.
    """

    dry_run: bool = False
    older_than: Duration | None = None
    unused: Size | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that goes. `kind`: a word such as `outputs`; `why`: a clause for people."""

    kind: str
    name: str
    bytes: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Something that could not be removed, or not looked at. `problem`: the sentence."""

    kind: str
    name: str
    problem: str


@dataclass(slots=True)
class Total:
    """How many things of a kind, and their bytes."""

    count: int = 0
    bytes: int = 0


@dataclass(slots=True, kw_only=True)
class Report:
    """What went, or would go; and what would not."""

    dry_run: bool
    items: list[Item] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    totals: dict[str, Total] = field(default_factory=dict)

    def add(self, item: Item) -> None:
        """Count it, and name it while there are not too many."""
        total = self.totals.setdefault(item.kind, Total())
        total.count += 1
        total.bytes += item.bytes
        if total.count <= NAMED:
            self.items.append(item)

    def fail(self, kind: str, name: str, problem: str) -> None:
        """It stays, and why."""
        if len(self.failures) < NAMED:
            self.failures.append(Failure(kind=kind, name=name, problem=problem))

    @property
    def count(self) -> int:
        """Things of every kind."""
        return sum(total.count for total in self.totals.values())

    @property
    def bytes(self) -> int:
        """Bytes of every kind."""
        return sum(total.bytes for total in self.totals.values())


Prune = Callable[[Wish], Awaitable[Report]]


async def nobody_prunes(wish: Wish) -> Report:
    """What doors without a yard around them are given. Raises Unavailable."""
    raise errors.Unavailable("Nobody keeps house here.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A look at the store. `deep`: read every byte; `fix`: mend what can be mended without loss."""

    deep: bool = False
    fix: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something in the store that is not as it should be. `problem`: a clause; `remedy`: what to do about it, or, where
    it is `fixed`, what was done; `fixable`: by the check itself; `bytes`: how many that frees."""

    kind: str
    name: str
    problem: str
    remedy: str
    fixable: bool = False
    fixed: bool = False
    bytes: int = 0


@dataclass(slots=True, kw_only=True)
class Checked:
    """What a look at the store saw. `counts`: how much of what it looked at, by its name."""

    deep: bool
    counts: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a version, or a weight that a tag points to, takes on the disk. `unique`: what would go with it.

    `name`: its model's, or its repository's; `id`: 64 hexadecimal digits.
    """

    name: str
    id: str
    is_version: bool
    tags: tuple[str, ...]
    created_at: int
    bytes: int
    unique: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InEngine:
    """The image of a version as the engine of containers has it, beside the registry. `needed`: is it still one's?"""

    name: str
    id: str
    bytes: int
    unique: int
    needed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What the registry keeps. `bytes`: all of it, each layer once; `unneeded`: what none of them needs. `in_engine`:
    what an engine of containers has of it, where it says."""

    held: tuple[Holding, ...]
    bytes: int
    unneeded: int
    in_engine: tuple[InEngine, ...] = ()


CheckStore = Callable[[Check], Awaitable[Checked]]
ListHoldings = Callable[[], Awaitable[Holdings]]


async def nobody_checks(check: Check) -> Checked:
    """What doors without a yard around them are given. Raises Unavailable."""
    raise errors.Unavailable("Nobody keeps house here.")


async def nobody_holds() -> Holdings:
    """What doors without a yard around them are given. Raises Unavailable."""
    raise errors.Unavailable("Nobody keeps house here.")
