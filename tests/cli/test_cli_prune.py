"""The table of `yard prune`, and what it says of what stays."""

from __future__ import annotations

from typing import Any

from yard_process import Run, Server

from modelyard.cli import registries
from modelyard.cli.client import Login
from modelyard.cli.prune import table
from modelyard.oci.manifest import digest_of


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


def test_what_nobody_needs_and_stays_is_said_with_the_reason(yard: Run, server: Server) -> None:
    data = b"a layer of no version"
    with registries.at_yard(Login(server.url, server.token), "yard/loose") as there:
        there.send_bytes(digest_of(data), data)
    told = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token}
    said = yard("prune", **told).stderr
    assert " more that none of them needs and keep_unused lets stay, or that just came (yard prune --unused 0)." in said
    assert " needs and --unused 0 lets stay, or that just came." in yard("prune", "--unused", "0", **told).stderr
