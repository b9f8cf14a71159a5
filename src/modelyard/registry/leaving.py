"""How an image leaves its repository together with what it stood for: in one step, and nothing that others need."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Set

from modelyard.blobs.base import Blobs
from modelyard.db.base import Database, Tx
from modelyard.registry.contents import Contents, Said
from modelyard.registry.repositories import Repositories


class Leaving:
    """Takes manifests and tags away. Their bytes, and the layers, go when housekeeping comes by and nobody needs them.

    `clock`: microseconds since 1970.
    """

    def __init__(self, db: Database, clock: Callable[[], int], blobs: Blobs) -> None:
        self._repositories = Repositories(db, clock)
        self._contents = Contents(self._repositories, blobs)

    async def remove(
        self,
        repository: str,
        digest: str,
        versions: Callable[[], Awaitable[Collection[str]]],
        also: Callable[[Tx], None],
    ) -> None:
        """Take an image away, or an index with its parts, with all tags and signatures, and write `also` with it.

        `versions`: the digests that stand for something themselves, and stay. Raises what `also` raises.
        """

        async def leave(seen: int) -> None:
            staying = set(await versions()) - {digest}
            tagged = await self._repositories.tagged_of(repository)
            going = leaving(digest, await self._contents.all_of(repository), staying=staying, tagged=tagged)
            await self._repositories.remove_manifests(repository, going, seen, untag=[digest], also=also)

        await self._contents.alone(repository, leave)

    async def clear(self, repository: str, also: Callable[[Tx], None]) -> None:
        """The repository is as one that never was; `also` is written with it. Raises what `also` raises."""

        async def leave(seen: int) -> None:
            await self._repositories.clear(repository, also, seen)

        await self._contents.alone(repository, leave)


def leaving(digest: str, said: Mapping[str, Said | None], *, staying: Set[str], tagged: Set[str]) -> set[str]:
    """What goes with a manifest: it, its parts, and the companions of these; not what somebody else needs.

    `said`: what every manifest of the repository says. `staying`: what is needed itself; so are tagged weights and the
    like, which outlive the image that they stood beside.
    """

    def stays(each: str) -> bool:
        found = said[each]
        return each in staying or (each != digest and each in tagged and found is not None and not found.is_image)

    going = {each for each in _led_to(digest, said) if not stays(each)}
    while True:
        others = said.keys() - going
        needed = {name for each in others for name in _names(said[each])}
        needed |= {each for each in going - {digest} if _subject(said[each]) in others}
        if not going & needed:
            return going
        going -= needed


def _led_to(digest: str, said: Mapping[str, Said | None]) -> set[str]:
    """The manifests that it names, those that are companions of one of them, and so on."""
    found: set[str] = set()
    waiting = [digest]
    while waiting:
        one = waiting.pop()
        if one in found or one not in said:
            continue
        found.add(one)
        waiting.extend(_names(said[one]))
        waiting.extend(each for each, says in said.items() if _subject(says) == one)
    return found


def _names(says: Said | None) -> Set[str]:
    return frozenset() if says is None else says.names


def _subject(says: Said | None) -> str | None:
    return None if says is None else says.subject
