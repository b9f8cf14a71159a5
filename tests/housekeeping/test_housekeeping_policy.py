"""What goes and why, without a disk: pure functions."""

from __future__ import annotations

from modelyard import amounts
from modelyard.housekeeping import policy
from modelyard.housekeeping.policy import GRACE_SECONDS, SECOND, Needed, Thing

NOW = 1_800_000_000 * SECOND


def thing(name: str, *, days: float = 10, size: int = 100, kind: str = "layers") -> Thing:
    used_at = NOW - int(days * 86400 * SECOND)
    return Thing(kind=kind, name=name, place=name, needed_as=name, used_at=used_at, bytes=size)


def names(things: list[Thing]) -> list[str]:
    return [each.name for each in things]


def test_what_is_needed_stays_whatever_its_age() -> None:
    needed = Needed(images={"a"}, environments={"b"}, sources={"c"}, models={"d"})
    kinds = {"a": "layers", "b": "environments", "c": "sources", "d": "caches"}
    things = [thing(name, days=1000, kind=kind) for name, kind in kinds.items()]
    strangers = [thing(f"other {name}", kind=kind) for name, kind in kinds.items()]

    assert names(policy.unneeded([*things, *strangers], needed, NOW)) == names(strangers)


def test_what_came_a_moment_ago_or_from_the_future_stays() -> None:
    things = [thing("now", days=0), thing("within", days=GRACE_SECONDS / 86400 - 0.01), thing("future", days=-5)]

    assert not policy.unneeded([*things], Needed(), NOW)
    assert names(policy.unneeded([thing("old", days=1.01)], Needed(), NOW)) == ["old"]


def test_beyond_the_limit_the_longest_unused_goes_first_until_the_rest_fits() -> None:
    things = [thing("a", days=3, size=50), thing("b", days=9, size=10), thing("c", days=6, size=40)]

    assert names(policy.over_limit(things, 100)) == []
    assert names(policy.over_limit(things, 99)) == ["b"]
    assert names(policy.over_limit(things, 89)) == ["b", "c"]
    assert names(policy.over_limit(things, 49)) == ["b", "c", "a"]
    assert names(policy.over_limit(things, amounts.size("unlimited").bytes)) == []


def test_where_nothing_may_stay_what_has_no_bytes_goes_too() -> None:
    assert names(policy.over_limit([thing("empty", size=0)], 0)) == ["empty"]
    assert names(policy.over_limit([thing("empty", size=0)], 1)) == []


def test_the_newest_stay() -> None:
    things = [thing(name, days=days) for name, days in (("a", 3), ("b", 1), ("c", 2))]

    assert names(policy.beyond_newest(things, 2)) == ["a"]
    assert names(policy.beyond_newest(things, 5)) == []
