"""The store of files by digest."""

from __future__ import annotations

import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.oci.manifest import WrongDigestError
from modelyard.weights import cache
from modelyard.weights.cache import Cache

HELLO = "sha256:" + hashlib.sha256(b"hello").hexdigest()


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_file_lies_plainly_under_its_digest(tmp_path: Path) -> None:
    store = Cache(tmp_path)
    assert not store.has(HELLO)
    assert store.add([b"hel", b"lo"]) == HELLO
    name = HELLO.removeprefix("sha256:")
    path = tmp_path / "weights" / "files" / "sha256" / name[:2] / name
    assert path == store.path(HELLO)
    assert path.read_bytes() == b"hello"
    assert not path.stat().st_mode & stat.S_IWUSR
    assert store.has(HELLO, 5)
    assert not store.has(HELLO, 6)


def test_another_digest_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    store = Cache(tmp_path)
    with pytest.raises(WrongDigestError, match=HELLO):
        store.add([b"hallo"], HELLO)
    assert files(tmp_path) == []
    with pytest.raises(WrongDigestError, match="is no digest"):
        store.path("sha256:../../etc/passwd")


def test_a_source_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Cache(tmp_path).add(tmp_path / "missing")
    assert files(tmp_path) == []


def test_many_that_add_the_same_at_once_are_fine(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: Cache(tmp_path / "cache").add(source), range(16)))
    (digest,) = found
    assert files(tmp_path / "cache") == [Cache(tmp_path / "cache").path(digest)]
    assert cache.digest_of(source) == digest


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"COG_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/cog"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/cog"),
        ({"HOME": "/h"}, "/h/.cache/cog"),
    ],
)
def test_the_environment_says_where_the_store_is(variables: dict[str, str], expected: str) -> None:
    assert cache.home(variables) == Path(expected)
