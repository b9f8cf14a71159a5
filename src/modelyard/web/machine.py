"""The yard itself: instances and what they hold, who waits for what, what failed lately, and the disk."""

from __future__ import annotations

import asyncio
import shutil

from starlette.requests import Request
from starlette.responses import Response

from modelyard.predictions.listing import Filter
from modelyard.predictions.record import Status
from modelyard.web import pages
from modelyard.web.base import Web, member, seen_by

FAILURES = 10


async def get(web: Web, request: Request) -> Response:
    """`GET /yard`."""
    actor = await member(web, request)
    seen, models = await seen_by(web, actor)
    disk = await asyncio.to_thread(shutil.disk_usage, web.overview.data)
    failed = Filter(account_id=actor.account.id, statuses=(Status.FAILED,))
    failures = await web.predictions.list(failed, limit=FAILURES)
    held = sum(each.memory_bytes for each in seen.instances)
    return pages.page(
        web,
        request,
        actor,
        "yard.html",
        data="/v1/yard",
        seen=seen,
        models=models,
        held=held,
        disk=disk,
        failures=failures,
    )
