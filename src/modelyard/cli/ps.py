"""`yard ps`: instances, what they hold and what they run."""

from __future__ import annotations

from typing import Any

from modelyard import settings
from modelyard.cli import client, quick, table, watch, words
from modelyard.cli.table import Column, Row
from modelyard.cli.talk import Talk

_COLUMNS = (
    Column("INSTANCE"),
    Column("MODEL", elastic=True),
    Column("STATE", colours=table.STATES),
    Column("SINCE", right=True),
    Column("HOLDS", elastic=True),
)


def run(talk: Talk, as_json: bool, watch_: bool, ended: bool) -> None:
    """Show them."""
    login = client.required_login(settings.environment())
    path = "/v1/instances" + ("?ended=true" if ended else "")

    def find() -> Any:
        return client.call(login, "GET", path)["results"]

    watch.show(talk, find, _draw, as_json=as_json, again=watch_)


def _draw(instances: list[dict[str, Any]], view: watch.View) -> list[str]:
    if not instances:
        return ["Nothing runs. An instance starts when a prediction needs it."]
    at = words.now()
    rows = [_row(instance, at) for instance in instances]
    return table.lines(_COLUMNS, rows, width=view.width, paint=view.paint)


def _row(instance: dict[str, Any], at: float) -> Row:
    name = instance["model"] or "(deleted)"
    cells = [
        instance["id"],
        f"{name}:{instance['version'][:8]}",
        instance["state"],
        words.age(instance["since"], at),
        _holds(instance),
    ]
    under = [f"runs {prediction}" for prediction in instance["running"]]
    if instance.get("said"):
        under.append(f"says {words.line(instance['said'])}")
    if instance.get("error"):
        under.append(words.line(instance["error"]))
    return Row(cells, under)


def _holds(instance: dict[str, Any]) -> str:
    if instance["state"] in ("stopped", "failed"):
        return ""
    parts = [f"{instance['cpus']:g} cpu", words.size(instance["memory_bytes"])]
    if instance["gpus"]:
        parts.append(words.counted(len(instance["gpus"]), "GPU"))
    return ", ".join(parts)


COMMAND = quick.Command(
    name="ps",
    about="List instances, what they hold and run",
    text="""List instances: the running copies of versions, what each holds of the machine, and the predictions it runs.

    The yard's owner sees all, others those of their own models. `yard logs` shows what an instance says.
    """,
    examples=("yard ps", "yard ps --watch", "yard ps --ended", "yard ps --json | jq -r '.[].running[]'"),
    run=run,
    options=(
        quick.Option(("-a", "--ended"), "ended", "Also the last hundred that have ended, and why."),
        quick.WATCH,
        quick.JSON,
    ),
)
