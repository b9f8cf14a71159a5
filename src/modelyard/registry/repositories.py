"""What each repository holds: its blobs, manifests and tags, as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from modelyard.db.base import Database, Row, Statement, Tx
from modelyard.registry import problems

_HAS_BLOB = Statement(
    "repository_blob", "SELECT size FROM repository_blobs WHERE repository = :repository AND digest = :digest"
)
_ADD_BLOB = Statement(
    "add_repository_blob",
    "INSERT INTO repository_blobs (repository, digest, size, created_at)"
    " VALUES (:repository, :digest, :size, :created_at)"
    " ON CONFLICT (repository, digest) DO UPDATE SET size = excluded.size",
    by_key=True,
)
_MANIFEST = Statement(
    "repository_manifest",
    "SELECT digest, media_type, size, blob_key FROM manifests WHERE repository = :repository AND digest = :digest",
)
_TAG = Statement("repository_tag", "SELECT digest FROM tags WHERE repository = :repository AND tag = :tag")
_TAGS = Statement(
    "repository_tags",
    "SELECT tag FROM tags WHERE repository = :repository AND tag > :last ORDER BY tag LIMIT :count",
)
_ADD_MANIFEST = Statement(
    "add_manifest",
    "INSERT INTO manifests (repository, digest, media_type, size, blob_key, created_at)"
    " VALUES (:repository, :digest, :media_type, :size, :blob_key, :created_at)"
    " ON CONFLICT (repository, digest) DO NOTHING",
    by_key=True,
)
_SET_TAG = Statement(
    "set_tag",
    "INSERT INTO tags (repository, tag, digest, updated_at) VALUES (:repository, :tag, :digest, :updated_at)"
    " ON CONFLICT (repository, tag) DO UPDATE SET digest = excluded.digest, updated_at = excluded.updated_at",
    by_key=True,
)


_CHANGES = Statement("repository_changes", "SELECT changes FROM repository_changes WHERE repository = :repository")
_COUNTED = Statement(
    "count_repository",
    "INSERT INTO repository_changes (repository, changes) VALUES (:repository, 0) ON CONFLICT (repository) DO NOTHING",
    by_key=True,
)
# Whoever has changed this row changes the repository alone until the transaction ends.
_CHANGE = Statement(
    "change_repository",
    "UPDATE repository_changes SET changes = changes + 1 WHERE repository = :repository"
    " AND (changes = :seen OR :seen < 0)",
    by_key=True,
)
_CHANGE_WITH = Statement(
    "change_repositories_with",
    "INSERT INTO repository_changes (repository, changes)"
    " SELECT repository, 1 FROM repository_blobs WHERE digest = :digest"
    " UNION SELECT repository, 1 FROM manifests WHERE digest = :digest"
    " UNION SELECT repository, 1 FROM blob_origins WHERE digest = :digest"
    " ON CONFLICT (repository) DO UPDATE SET changes = repository_changes.changes + 1",
)
_MANIFESTS_OF = Statement(
    "repository_manifests",
    "SELECT digest, media_type, size, blob_key FROM manifests WHERE repository = :repository"
    " ORDER BY created_at, digest",
)
_REMOVE_BLOB = tuple(
    Statement(f"remove_of_{table}", f"DELETE FROM {table} WHERE repository = :repository AND digest = :digest")  # noqa: S608
    for table in ("repository_blobs", "blob_origins")
)
_REMOVE_TAG = Statement(
    "remove_tag", "DELETE FROM tags WHERE repository = :repository AND tag = :tag AND digest = :digest"
)
_REMOVE_MANIFEST = tuple(
    Statement(f"remove_in_{table}", f"DELETE FROM {table} WHERE repository = :repository AND digest = :digest")  # noqa: S608
    for table in ("tags", "manifests")
)
_CLEAR = tuple(
    Statement(f"clear_{table}", f"DELETE FROM {table} WHERE repository = :repository")  # noqa: S608
    for table in ("tags", "manifests", "repository_blobs", "blob_origins")
)
_TAGGED_OF = Statement("repository_tagged", "SELECT DISTINCT digest FROM tags WHERE repository = :repository")
_MANIFESTS = Statement("all_manifests", "SELECT DISTINCT digest, media_type FROM manifests")
_TAGGED = Statement(
    "tagged_manifests",
    "SELECT t.repository, t.tag, t.digest, t.updated_at FROM tags t"
    " JOIN manifests m ON m.repository = t.repository AND m.digest = t.digest",
)
_EVERYTHING = tuple(
    Statement(f"every_{table}", f"SELECT {columns} FROM {table} ORDER BY {columns}")  # noqa: S608
    for table, columns in (
        ("manifests", "repository, digest, media_type, size, blob_key"),
        ("repository_blobs", "repository, digest, size"),
        ("tags", "repository, tag, digest"),
        ("blob_origins", "repository, digest, size"),
    )
)
_ORIGINS_BEFORE = Statement("origins_before", "SELECT DISTINCT digest FROM blob_origins WHERE created_at < :before")
_FORGET_ORIGIN = Statement("forget_origin", "DELETE FROM blob_origins WHERE digest = :digest AND created_at < :before")
_FORGET = tuple(
    Statement(f"forget_in_{table}", f"DELETE FROM {table} WHERE digest = :digest")  # noqa: S608
    for table in ("tags", "manifests", "repository_blobs", "blob_origins")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredManifest:
    """A manifest of a repository; its bytes lie among the blobs at `blob_key`."""

    digest: str
    media_type: str
    size: int
    blob_key: str


class Tagged(NamedTuple):
    """A manifest that a tag of a repository points to, and when that came to do so."""

    repository: str
    tag: str
    digest: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """All rows at one moment: manifests by (repository, digest), the sizes of blobs alike, digests by (repository,
    tag). `elsewhere`: the sizes of layers that are in another registry, and here once somebody wanted them."""

    manifests: Mapping[tuple[str, str], StoredManifest]
    blobs: Mapping[tuple[str, str], int]
    tags: Mapping[tuple[str, str], str]
    elsewhere: Mapping[tuple[str, str], int] = field(default_factory=dict)


class Repositories:
    """The rows of the registry. `clock`: microseconds since 1970.

    Whoever looks at a repository, decides and then changes it asks for `changes` first, and gives that number with the
    change, which is refused with ChangedError where another process changed the repository meanwhile.
    """

    def __init__(self, db: Database, clock: Callable[[], int]) -> None:
        self._db = db
        self._clock = clock

    async def blob_size(self, repository: str, digest: str) -> int | None:
        """The size of a blob in bytes; None when this repository has no such blob."""
        row = await self._db.one(_HAS_BLOB, repository=repository, digest=digest)
        return None if row is None else int(row["size"])

    async def add_blob(self, repository: str, digest: str, size: int) -> None:
        """Let the repository have this blob, of this size; no error when it has it."""
        params = {"repository": repository, "digest": digest, "size": size, "created_at": self._clock()}
        await self._db.run(_ADD_BLOB, params)

    async def changes(self, repository: str) -> int:
        """How often the manifests and blobs of a repository came or went."""
        row = await self._db.one(_CHANGES, repository=repository)
        return 0 if row is None else int(row["changes"])

    async def missing(self, repository: str, digests: Iterable[str]) -> list[str]:
        """Those that this repository has neither as a blob nor as a manifest."""
        return [
            digest
            for digest in dict.fromkeys(digests)
            if await self.blob_size(repository, digest) is None and await self.manifest(repository, digest) is None
        ]

    async def manifest(self, repository: str, digest: str) -> StoredManifest | None:
        """A manifest by its digest."""
        return _manifest(await self._db.one(_MANIFEST, repository=repository, digest=digest))

    async def tagged(self, repository: str, tag: str) -> StoredManifest | None:
        """The manifest that a tag points to."""
        row = await self._db.one(_TAG, repository=repository, tag=tag)
        return None if row is None else await self.manifest(repository, row["digest"])

    async def manifests_of(self, repository: str) -> list[StoredManifest]:
        """Every manifest of a repository, the first that came first."""
        found = map(_manifest, await self._db.all(_MANIFESTS_OF, repository=repository))
        return [each for each in found if each is not None]

    async def add_manifest(
        self,
        repository: str,
        manifest: StoredManifest,
        tag: str | None,
        also: Callable[[Tx], None] | None = None,
        seen: int = -1,
    ) -> None:
        """Let the repository have this manifest, and the tag, if one is given, point to it.

        `also`: what else is written with it, or not at all. Raises ChangedError.
        """
        now = self._clock()

        def work(tx: Tx) -> None:
            _change(tx, repository, seen)
            tx.run(
                _ADD_MANIFEST,
                {
                    "repository": repository,
                    "digest": manifest.digest,
                    "media_type": manifest.media_type,
                    "size": manifest.size,
                    "blob_key": manifest.blob_key,
                    "created_at": now,
                },
            )
            if tag is not None:
                tx.run(_SET_TAG, {"repository": repository, "tag": tag, "digest": manifest.digest, "updated_at": now})
            if also is not None:
                also(tx)

        await self._db.transaction(work)

    async def remove_blob(self, repository: str, digest: str, seen: int = -1) -> None:
        """The repository has this blob no more, and knows of no place where it is. Raises ChangedError."""

        def work(tx: Tx) -> None:
            _change(tx, repository, seen)
            for statement in _REMOVE_BLOB:
                tx.run(statement, {"repository": repository, "digest": digest})

        await self._db.transaction(work)

    async def remove_tag(self, repository: str, tag: str, digest: str) -> None:
        """The tag points to nothing, if it points to this now; what it pointed to stays."""
        await self._db.run(_REMOVE_TAG, {"repository": repository, "tag": tag, "digest": digest})

    async def remove_manifests(
        self,
        repository: str,
        digests: Iterable[str],
        seen: int = -1,
        *,
        untag: Iterable[str] = (),
        also: Callable[[Tx], None] | None = None,
    ) -> None:
        """The repository has these manifests no more, nor the tags that point to them, or to one of `untag`.

        `also`: what else is written with it, or not at all. Raises ChangedError.
        """
        tags, manifests = _REMOVE_MANIFEST
        going = set(digests)

        def work(tx: Tx) -> None:
            _change(tx, repository, seen)
            for digest in sorted(going.union(untag)):
                tx.run(tags, {"repository": repository, "digest": digest})
            for digest in sorted(going):
                tx.run(manifests, {"repository": repository, "digest": digest})
            if also is not None:
                also(tx)

        await self._db.transaction(work)

    async def clear(self, repository: str, also: Callable[[Tx], None], seen: int = -1) -> None:
        """The repository has nothing any more; `also` as above. Raises ChangedError."""

        def work(tx: Tx) -> None:
            _change(tx, repository, seen)
            for statement in _CLEAR:
                tx.run(statement, {"repository": repository})
            also(tx)

        await self._db.transaction(work)

    async def tagged_of(self, repository: str) -> set[str]:
        """The digests that tags of a repository point to."""
        return {row["digest"] for row in await self._db.all(_TAGGED_OF, repository=repository)}

    async def manifests(self) -> dict[str, str]:
        """Every manifest of every repository: its media type by its digest."""
        return {row["digest"]: row["media_type"] for row in await self._db.all(_MANIFESTS)}

    async def tagged_manifests(self) -> list[Tagged]:
        """Every tag that points to a manifest."""
        rows = await self._db.all(_TAGGED)
        return [Tagged(row["repository"], row["tag"], row["digest"], int(row["updated_at"])) for row in rows]

    async def everything(self) -> Everything:
        """All that every repository has."""
        rows = await self._db.transaction(lambda tx: [tx.all(each) for each in _EVERYTHING])
        manifests, blobs, tags, elsewhere = rows
        found = [(row["repository"], _manifest(row)) for row in manifests]
        return Everything(
            manifests={(repository, each.digest): each for repository, each in found if each is not None},
            blobs={(row["repository"], row["digest"]): int(row["size"]) for row in blobs},
            tags={(row["repository"], row["tag"]): row["digest"] for row in tags},
            elsewhere={(row["repository"], row["digest"]): int(row["size"]) for row in elsewhere},
        )

    async def forget(self, digest: str) -> None:
        """No repository has this blob, or manifest with its tags, any more. The bytes are the caller's affair."""

        def work(tx: Tx) -> None:
            tx.run(_CHANGE_WITH, {"digest": digest})
            for statement in _FORGET:
                tx.run(statement, {"digest": digest})

        await self._db.transaction(work)

    async def forget_origins(self, needed: Set[str], before: int) -> None:
        """No repository knows layers in other registries any more that are not `needed` (hexadecimal digits), unless
        somebody said so after `before`."""

        def work(tx: Tx) -> None:
            for row in tx.all(_ORIGINS_BEFORE, before=before):
                if row["digest"].partition(":")[2] not in needed:
                    tx.run(_FORGET_ORIGIN, {"digest": row["digest"], "before": before})

        await self._db.transaction(work)

    async def tags(self, repository: str, last: str, count: int) -> list[str]:
        """At most `count` tags after `last`, by name."""
        rows = await self._db.all(_TAGS, repository=repository, last=last, count=count)
        return [row["tag"] for row in rows]


def _change(tx: Tx, repository: str, seen: int) -> None:
    """Nobody else changes this repository until the transaction ends. Raises ChangedError where it is not as `seen`."""
    tx.run(_COUNTED, {"repository": repository})
    if not tx.run(_CHANGE, {"repository": repository, "seen": seen}):
        raise problems.ChangedError(f"{repository} was changed by somebody else at the same moment; try again")


def _manifest(row: Row | None) -> StoredManifest | None:
    if row is None:
        return None
    return StoredManifest(
        digest=row["digest"], media_type=row["media_type"], size=int(row["size"]), blob_key=row["blob_key"]
    )
