"""The table of `yard prune`."""

from __future__ import annotations

from typing import Any

from modelyard.cli.prune import table


def report(count: int, named: int) -> dict[str, Any]:
    items = [
        {"kind": "outputs", "name": f"p{number}", "bytes": 1000 * number, "why": "it is old"} for number in range(named)
    ]
    total = {"count": count, "bytes": 20_000_000}
    return {"dry_run": True, "count": count, "bytes": 20_000_000, "totals": {"outputs": total}, "items": items}


def test_the_largest_come_first_with_why() -> None:
    assert table(report(2, 2)) == [
        "KIND     NAME    SIZE  WHY",
        "outputs  p1    1.0 kB  it is old",
        "outputs  p0       0 B  it is old",
    ]


def test_of_many_the_rest_is_counted_with_its_bytes() -> None:
    lines = table(report(5000, 1000))

    assert len(lines) == 22
    assert lines[1].startswith("outputs  p999 ")
    assert lines[-1].split() == ["outputs", "and", "4,980", "more", "210.0", "kB"]


def test_without_anything_there_is_no_table() -> None:
    assert table({"count": 0, "totals": {}, "items": []}) == []
