"""The yard itself: instances and what they hold, who waits for what, what failed lately, and the disk."""

from __future__ import annotations

import asyncio
import shutil

from starlette.requests import Request
from starlette.responses import Response

from modelyard.predictions.record import Status
from modelyard.web import pages
from modelyard.web.base import Web, member, seen_by

FAILURES = 10
_LOOKED_AT = 200


async def get(web: Web, request: Request) -> Response:
    """`GET /yard`."""
    actor = await member(web, request)
    seen, models = await seen_by(web, actor)
    disk = await asyncio.to_thread(shutil.disk_usage, web.data)
    recent = await web.predictions.list(actor.account.id, limit=_LOOKED_AT)
    failures = [record for record in recent if record.status is Status.FAILED][:FAILURES]
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
        hardware=web.hardware,
        operates=await web.accounts.operates(actor.account),
    )
