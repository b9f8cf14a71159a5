"""`yard status`: is the yard well, what waits, how much there is, how full its disk is."""

from __future__ import annotations

import json
import sys
from typing import Any

from modelyard import settings
from modelyard.cli import client, quick, table, watch, words
from modelyard.cli.talk import Talk
from modelyard.errors import Unavailable

UNWELL = 1
# The largest so many of the data folder are named.
_FOLDERS = 3


def run(talk: Talk, watch_: bool, as_json: bool) -> int:
    """Show it; 0 when the yard takes all work, 1 when it does not."""
    login = client.required_login(settings.environment())

    def find() -> dict[str, Any]:
        return {"url": login.url, **client.call(login, "GET", "/v1/yard")}

    try:
        found = watch.show(talk, find, _draw, as_json=as_json, again=watch_)
    except Unavailable as error:
        if as_json:
            talk.on(sys.stdout).say(json.dumps({"url": login.url, "status": "unreachable", "problems": [error.detail]}))
        raise
    return 0 if found["status"] == "ready" else UNWELL


def _draw(yard: dict[str, Any], view: watch.View) -> list[str]:
    state = view.paint(yard["status"], table.STATES.get(yard["status"], ""))
    facts = [
        ("yard", f"{yard['url']}"),
        ("status", f"{state}, up for {words.span(yard['uptime_seconds'])}"),
        *(("", problem) for problem in yard["problems"]),
        ("version", yard["version"]),
    ]
    if "queue" in yard:
        facts += [
            ("queue", _queue(yard["queue"])),
            *(("", _pool(pool)) for pool in yard["queue"]["pools"] if pool["waiting"]),
            *(("trouble", _trouble(pool)) for pool in yard["queue"]["pools"] if pool["problem"]),
            ("instances", words.tally(yard["instances"])),
            ("predictions", words.tally(yard["predictions"])),
            ("models", f"{yard['models']:,}, with {words.counted(yard['versions'], 'version')}"),
            ("disk", _disk(yard["disk"])),
            ("", _folders(yard["disk"]["folders"])),
            ("data", yard["data"]),
        ]
    return table.pairs([fact for fact in facts if fact != ("", "")], width=view.width, paint=view.paint)


def _queue(queue: dict[str, Any]) -> str:
    if not queue["waiting"]:
        return "nothing waits"
    return f"{queue['waiting']:,} waiting, the first for {words.span(queue['oldest_wait_seconds'])}"


def _pool(pool: dict[str, Any]) -> str:
    return f"{pool['waiting']:,} for {_name(pool)}, with {words.counted(pool['instances'], 'instance')}"


def _trouble(pool: dict[str, Any]) -> str:
    return f"{_name(pool)}: {words.line(pool['problem'])}"


def _name(pool: dict[str, Any]) -> str:
    return f"{pool['model'] or '(deleted)'}:{pool['version'][:8]}"


def _disk(disk: dict[str, Any]) -> str:
    free, total = disk["free_bytes"], disk["total_bytes"]
    return f"{words.size(free)} of {words.size(total)} free ({100 * free / max(1, total):.0f}%)"


def _folders(folders: dict[str, int] | None) -> str:
    if folders is None:
        return "what is in the data folder is still being counted"
    largest = sorted(((size, name) for name, size in folders.items() if size), reverse=True)
    named = ", ".join(f"{name} {words.size(size)}" for size, name in largest[:_FOLDERS])
    return f"the yard has {words.size(sum(folders.values()))}: {named}" if named else ""


COMMAND = quick.Command(
    name="status",
    about="Say whether the yard is well and what waits",
    text="""Say whether the yard is well: its health and version, and for its owner what waits and why, how many
    instances, predictions, models and versions there are, and how full its disk is.

    The exit status is 0 when the yard takes all work, and 1 when it does not: nobody answers, it is stopping, or its
    disk is nearly full.
    """,
    examples=(
        "yard status",
        "yard status --watch",
        "yard status --json | jq .queue.waiting",
        "yard status > /dev/null || echo unwell",
    ),
    run=run,
    options=(quick.WATCH, quick.JSON),
)
