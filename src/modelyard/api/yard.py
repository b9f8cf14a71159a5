"""The yard over HTTP: is it well, what waits, how much of everything there is."""

from __future__ import annotations

from collections import Counter
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from modelyard import rest
from modelyard.api.base import Deps, actor_of
from modelyard.api.instances import name_of
from modelyard.machine import Seen, SeenPool


async def get(deps: Deps, request: Request) -> Response:
    """`GET /v1/yard`: health for everybody with a token, the rest for whoever operates the yard."""
    actor = await actor_of(deps, request)
    overview = deps.overview
    document: dict[str, Any] = {
        "status": overview.status,
        "problems": overview.problems(),
        "version": overview.version,
        "started_at": rest.time_text(overview.started_at),
        "uptime_seconds": round((deps.clock() - overview.started_at) / 1e6, 3),
        "base_image": deps.base_image,
        "engine": deps.engine,
    }
    if await deps.accounts.operates(actor.account):
        document |= await _inside(deps)
    return rest.json_response(document)


async def _inside(deps: Deps) -> dict[str, Any]:
    seen = deps.machine.observe()
    counts, disk = await deps.overview.counts(), await deps.overview.disk()
    return {
        "data": str(deps.overview.data),
        "queue": {
            "waiting": seen.waiting,
            "oldest_wait_seconds": max((pool.oldest_wait_seconds for pool in seen.pools), default=0.0),
            "pools": [await _pool(deps, seen, pool) for pool in seen.pools],
        },
        "instances": dict(Counter(instance.state for instance in seen.instances)),
        "models": counts.models,
        "versions": counts.versions,
        "predictions": _by_status(counts.predictions, seen),
        "disk": {"free_bytes": disk.free, "total_bytes": disk.total, "folders": disk.folders},
        "machine": {"cores": seen.cores, "memory_bytes": seen.memory_bytes, "gpus": list(seen.gpus)},
    }


async def _pool(deps: Deps, seen: Seen, pool: SeenPool) -> dict[str, Any]:
    key = (pool.model_id, pool.version_id)
    return {
        "model": await name_of(deps, pool.model_id),
        "version": pool.version_id,
        "waiting": pool.waiting,
        "oldest_wait_seconds": round(pool.oldest_wait_seconds, 3),
        "instances": sum((each.model_id, each.version_id) == key for each in seen.instances),
        "problem": pool.problem,
    }


def _by_status(counts: dict[str, int], seen: Seen) -> dict[str, int]:
    """What runs is written down after a moment only; the machine knows it at once."""
    not_ended = counts["starting"] + counts["processing"]
    running = min(not_ended, max(counts["processing"], sum(len(each.running) for each in seen.instances)))
    return {**counts, "starting": not_ended - running, "processing": running}
