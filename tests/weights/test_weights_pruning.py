"""What goes from this machine's store of weights: what no project names and nobody used lately, and leftovers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from weights_project import Weight

from modelyard.weights import lock, pruning
from modelyard.weights.cache import Cache

NOW = 2_000_000_000.0
HOUR, DAY = 3600.0, 86400.0


def age(path: Path, seconds: float) -> Path:
    os.utime(path, (NOW - seconds, NOW - seconds))
    return path


def kept(cache: Cache, content: bytes, seconds: float) -> Path:
    return age(cache.path(cache.add([content])), seconds)


def going(cache: Cache, unused: float = 30 * DAY) -> set[Path]:
    return {found.path for found in pruning.look(cache, now=NOW, unused=unused)}


def imported(folder: Path, cache: Cache, files: dict[str, bytes]) -> Path:
    """A project whose lock names these files, which was used here."""
    folder.mkdir(exist_ok=True)
    weight = Weight(name="base", target="/src/weights/base", files=files)
    path = lock.path_of(folder)
    lock.save(path, lock.Lock(weights=(weight.locked,)))
    cache.note(path)
    return path


def test_what_a_newer_import_took_the_place_of_goes_and_what_a_lock_names_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "caches")
    imported(tmp_path / "one", cache, {"a": b"first", "b": b"shared"})
    imported(tmp_path / "two", cache, {"c": b"other"})
    first, shared, other = (kept(cache, data, 40 * DAY) for data in (b"first", b"shared", b"other"))
    assert going(cache) == set()
    imported(tmp_path / "one", cache, {"a": b"second", "b": b"shared"})
    second = kept(cache, b"second", 0)
    assert going(cache) == {first}
    (tmp_path / "two" / "weights.lock").unlink()
    assert going(cache) == {first, other}
    assert not {shared, second} & going(cache, 0.0)


def test_what_was_used_lately_stays_and_an_hour_is_the_least(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "caches")
    old, late, new = kept(cache, b"old", 31 * DAY), kept(cache, b"late", 2 * HOUR), kept(cache, b"new", HOUR / 2)
    assert going(cache) == {old}
    assert going(cache, 0.0) == {old, late}
    assert new.exists()


def test_what_a_running_model_sees_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "caches")
    seen = kept(cache, b"seen", 40 * DAY)
    (tmp_path / "mount").hardlink_to(seen)
    assert going(cache) == set()
    (tmp_path / "mount").unlink()
    assert going(cache) == {seen}


def test_leftovers_go_those_that_can_go_on_only_when_nobody_did_for_long(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "caches")
    names = ("new-abc", "layer-abc", "a" * 64, f"{'a' * 64}.lock")
    for name in names:
        cache.partial(name).write_bytes(b"half")
        age(cache.partial(name), 2 * DAY)
    assert {path.name for path in going(cache)} == {"new-abc", "layer-abc"}
    assert {path.name for path in going(cache, DAY)} == {"new-abc", "layer-abc", "a" * 64}
    for name in names:
        age(cache.partial(name), HOUR / 2)
    assert going(cache, 0.0) == set()


def test_nothing_goes_while_a_lock_cannot_be_read(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "caches")
    path = imported(tmp_path / "one", cache, {"a": b"first"})
    kept(cache, b"old", 40 * DAY)
    path.write_text("{")
    with pytest.raises(pruning.UnknownNeedsError, match="cannot be read"):
        going(cache)
