"""`yard serve --container`: Cog's HTTP API of the folder's model, out of a container."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from modelyard import settings
from modelyard.cli import container, project, project_container
from modelyard.cli.asked import Served
from modelyard.cli.container import Container, EndedError, Plan
from modelyard.cli.talk import Talk

_GRACE_SECONDS = 10


def serve(
    asked: Served,
    file: str | None,
    variables: Sequence[str],
    flags: Mapping[str, Any],
    said: Talk,
    serving: Callable[[int], None],
) -> int:
    """Serve until the server ends, or somebody ends it; the exit status. `serving` is told the port once it is open."""
    environ = settings.environment()
    found = project.find_served(Path.cwd(), file, said, variables)
    with project_container.made(found, variables, flags, environ, said) as made:
        project_container.leave_schema(found)
        plan = _plan(made.plan, asked, found.mode)
        said.say(f"Running {' '.join(plan.command)} in Docker with the current directory mounted as a volume...")
        try:
            with container.running(plan, made.engine, environ, said, grace_seconds=_GRACE_SECONDS) as one:
                return _watch(one, said, serving)
        except KeyboardInterrupt:
            return 0


def _plan(plan: Plan, asked: Served, mode: str) -> Plan:
    told: dict[str, str] = {}
    if asked.setup_timeout is not None:
        told["COG_SETUP_TIMEOUT"] = f"{asked.setup_timeout:g}"
    if asked.workers > 1:
        told["MODELYARD_WORKERS"] = str(asked.workers)
    if not asked.restart:
        told["MODELYARD_WORKER_RESTART"] = "false"
    host = "127.0.0.1" if asked.host == "localhost" else f"[{asked.host}]" if ":" in asked.host else asked.host
    return replace(
        plan,
        command=(
            *project_container.server(mode),
            *(("--upload-url", asked.upload_url) if asked.upload_url else ()),
        ),
        variables={**told, **plan.variables},
        publish=f"{host}:{asked.port or ''}",
        reaches_host=asked.upload_url is not None,
    )


def _watch(one: Container, said: Talk, serving: Callable[[int], None]) -> int:
    serving(urlsplit(one.address).port or 0)
    try:
        one.ready(None)
    except EndedError as error:
        if one.ended.is_set():
            raise
        said.error(error.detail)  # it goes on, and says so to whoever asks
    else:
        said.say("Ready.")
    one.ended.wait()
    return 0 if one.code == 0 else 1
