"""Housekeeping on demand, for whoever runs the yard."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from modelyard import amounts, rest
from modelyard.api.base import Deps, invalid, json_object, json_type, operator_of
from modelyard.upkeep import Report, Wish

T = TypeVar("T")

_KNOWN = ("dry_run", "older_than", "unused")


async def prune(deps: Deps, request: Request) -> Response:
    """`POST /v1/yard/prune`: remove what is old or unused, or say what would go."""
    await operator_of(deps, request)
    body = await json_object(request)
    return rest.json_response(report_document(await deps.prune(_wish(body))))


def report_document(report: Report) -> dict[str, Any]:
    """A report as its reader sees it."""
    return {
        "dry_run": report.dry_run,
        "count": report.count,
        "bytes": report.bytes,
        "totals": {kind: dataclasses.asdict(total) for kind, total in report.totals.items()},
        "items": [dataclasses.asdict(item) for item in report.items],
        "failures": [dataclasses.asdict(failure) for failure in report.failures],
    }


def _wish(body: dict[str, object]) -> Wish:
    said = f"There is no such field; known: {', '.join(_KNOWN)}"
    failures = [("unknown", name, said) for name in body.keys() - _KNOWN]
    dry_run = body.get("dry_run", False)
    if not isinstance(dry_run, bool):
        failures.append(("type", "dry_run", f"Must be a boolean, is {json_type(dry_run)}"))
    older_than = _amount(amounts.duration, "older_than", body, failures)
    unused = _amount(amounts.size, "unused", body, failures)
    if failures:
        raise invalid(sorted(failures))
    return Wish(dry_run=bool(dry_run), older_than=older_than, unused=unused)


def _amount(
    read: Callable[[object], T], name: str, body: dict[str, object], failures: list[tuple[str, str, str]]
) -> T | None:
    value = body.get(name)
    if value is None:
        return None
    try:
        return read(value)
    except ValueError as wanted:
        failures.append(("format", name, f"Must be {wanted}"))
        return None
