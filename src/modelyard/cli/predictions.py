"""`yard predictions`: list, show, cancel, delete."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from modelyard import settings
from modelyard.cli import client, quick, spans, table, watch, words
from modelyard.cli.confirm import confirm
from modelyard.cli.table import Column, Row
from modelyard.cli.talk import Talk, result, result_json
from modelyard.errors import ModelyardError, NotFound

STATUSES = ("starting", "processing", "succeeded", "failed", "canceled", "aborted")
_SHOWN = 20
_LOG_LINES = 20
_COLUMNS = (
    Column("PREDICTION"),
    Column("MODEL", elastic=True),
    Column("STATUS", colours=table.STATES),
    Column("MADE", right=True),
    Column("TOOK", right=True),
)


def address(prediction_id: str) -> str:
    """The path of a prediction in the API."""
    return f"/v1/predictions/{quote(prediction_id, safe='')}"


# List


def list_(
    talk: Talk,
    *,
    status: tuple[str, ...],
    model: str | None,
    version: str | None,
    source: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    watch_: bool,
    as_json: bool,
) -> None:
    """Show the newest that fit."""
    login = client.required_login(settings.environment())
    given = {"model": model, "version": version, "source": source}

    def find() -> list[dict[str, Any]]:
        at = words.now()
        times = {
            "created_after": spans.moment("--since", since, at),
            "created_before": spans.moment("--until", until, at),
        }
        query = [("status", one) for one in status]
        query += [(name, value) for name, value in {**given, **times}.items() if value is not None]
        return list(client.pages(login, f"/v1/predictions?{urlencode(query)}", limit))

    watch.show(talk, find, _draw_list, as_json=as_json, again=watch_)


def _draw_list(predictions: list[dict[str, Any]], view: watch.View) -> list[str]:
    if not predictions:
        return ["There are no such predictions."]
    at = words.now()
    return table.lines(_COLUMNS, [_row(one, at) for one in predictions], width=view.width, paint=view.paint)


def _row(prediction: dict[str, Any], at: float) -> Row:
    cells = [
        prediction["id"],
        f"{prediction['model']}:{prediction['version'][:8]}",
        prediction["status"],
        words.age(prediction["created_at"], at),
        _took(prediction, at),
    ]
    return Row(cells, [words.line(prediction["error"])] if prediction.get("error") else [])


def _took(prediction: dict[str, Any], at: float) -> str:
    started, completed = prediction.get("started_at"), prediction.get("completed_at")
    if started is None:
        return ""
    return words.span((words.moment(completed) if completed else at) - words.moment(started))


# Show


def show(talk: Talk, prediction: str, watch_: bool, as_json: bool) -> None:
    """One of them, with all that is known of it."""
    login = client.required_login(settings.environment())
    watch.show(talk, lambda: client.call(login, "GET", address(prediction)), _draw_one, as_json=as_json, again=watch_)


def _draw_one(one: dict[str, Any], view: watch.View) -> list[str]:
    at = words.now()
    facts = [
        ("prediction", one["id"]),
        ("model", one["model"]),
        ("version", one["version"]),
        ("status", view.paint(one["status"], table.STATES.get(one["status"], ""))),
        ("made", f"{one['created_at']} ({words.age(one['created_at'], at)} ago, by {one['source']})"),
    ]
    if one.get("started_at"):
        waited = words.span(words.moment(one["started_at"]) - words.moment(one["created_at"]))
        facts.append(("took", f"{_took(one, at)}, after waiting for {waited}"))
    facts += [("until", one["deadline"])] if one.get("deadline") else []
    facts += [("webhook", words.line(one["webhook"]))] if one.get("webhook") else []
    facts += [(name, _value(one[name])) for name in ("input", "output", "metrics") if one.get(name) is not None]
    facts += [("error", words.plain(one["error"]))] if one.get("error") else []
    shown = table.pairs(facts, width=view.width, paint=view.paint)
    logs = words.plain(one.get("logs") or "").rstrip("\n").splitlines()
    if logs:
        left_out = len(logs) - _LOG_LINES
        more = f" (the last {_LOG_LINES} lines of {len(logs):,}; all: yard logs {one['id']})" if left_out > 0 else ""
        shown += ["", view.paint(f"logs{more}", "quiet"), *logs[-_LOG_LINES:]]
    return shown


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    compact = text if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return words.plain(compact if len(compact) <= 60 else text)


# Cancel and delete


def cancel(talk: Talk, predictions: tuple[str, ...], as_json: bool) -> int:
    """Stop them; what has ended stays as it is."""
    login = client.required_login(settings.environment())
    return _each(
        talk, predictions, lambda one: client.call(login, "POST", address(one) + "/cancel"), _canceled, as_json
    )


def _canceled(one: dict[str, Any]) -> str:
    ended = (
        ""
        if one["status"] in ("canceled", "aborted")
        else ", it had ended"
        if one.get("completed_at")
        else ", it is being stopped"
    )
    return f"{one['id']} is {one['status']}{ended}"


def delete(talk: Talk, predictions: tuple[str, ...], yes: bool, as_json: bool) -> int:
    """Take them away, with their output files."""
    login = client.required_login(settings.environment())
    what = predictions[0] if len(predictions) == 1 else words.counted(len(predictions), "prediction")
    confirm(talk, f"Delete {what} for good, with output and logs?", yes=yes)

    def remove(one: str) -> dict[str, Any]:
        client.call(login, "DELETE", address(one))
        return {"id": one, "deleted": True}

    return _each(talk, predictions, remove, lambda one: f"{one['id']} is deleted", as_json)


def _each(talk: Talk, ids: tuple[str, ...], do: Any, say: Any, as_json: bool) -> int:
    """Each in turn, whatever becomes of the others; 1 when one of them failed."""
    done: list[dict[str, Any]] = []
    failed = 0
    for one in ids:
        try:
            done.append(do(one))
        except NotFound:
            failed += 1
            talk.error(f"there is no prediction {one}", hint="yard predictions" if failed == 1 else None)
        except ModelyardError as error:
            if error.status in (401, 503):
                raise
            failed += 1
            talk.error(error.detail, hint=f"yard predictions cancel {one}" if error.hint else None)
        else:
            if not as_json:
                result(say(done[-1]))
    if as_json:
        result_json(done)
    return 1 if failed else 0


_ONE = quick.Argument("prediction", "PREDICTION")
_SOME = quick.Argument("predictions", "PREDICTION", multiple=True)

_ID = "01m8b9h5pkb307w3pdhsrx1k5e"
_LIST_OPTIONS = (
    quick.Option(
        ("-s", "--status"), "status", "In this status. Repeat it for several.", "text", "STATUS", STATUSES, True
    ),
    quick.Option(("-m", "--model"), "model", "Of this model.", "text", "OWNER/NAME"),
    quick.Option(("--version",), "version", "Of this version: its whole id.", "text", "VERSION"),
    quick.Option(("--source",), "source", "Made through the API or the site.", "text", "api|web", ("api", "web")),
    quick.Option(
        ("--since",),
        "since",
        "Made so long ago or later: 30m, 12h, 7d, or a time such as 2026-01-31T12:00:00Z.",
        "text",
        "WHEN",
    ),
    quick.Option(("--until",), "until", "Made before that.", "text", "WHEN"),
    quick.Option(("-n", "--limit"), "limit", "How many at the most.", "number", "NUMBER", default=_SHOWN),
    quick.WATCH,
    quick.JSON,
)
_LIST = quick.Command(
    name="list",
    about="List the newest",
    text="List your predictions, newest first.",
    examples=(
        "yard predictions",
        "yard predictions --status starting --status processing --watch",
        "yard predictions --model yard/hello --since 2h -n 100",
        "yard predictions --since 2026-01-31T12:00:00Z --until 2026-02-01 --json",
    ),
    run=list_,
    options=_LIST_OPTIONS,
)
_SHOW = quick.Command(
    name="show",
    about="Show one",
    text="Show a prediction: what it was given, what it gave, how long it took, why it failed.",
    examples=(f"yard predictions show {_ID}", f"yard predictions show {_ID} --json | jq .output"),
    run=show,
    arguments=(_ONE,),
    options=(quick.WATCH, quick.JSON),
)
_CANCEL = quick.Command(
    name="cancel",
    about="Stop some",
    text="Stop predictions: what waits is canceled at once, what runs is asked to stop. What has ended stays.",
    examples=(
        f"yard predictions cancel {_ID}",
        "yard predictions -s starting --json | jq -r '.[].id' | xargs yard predictions cancel",
    ),
    run=cancel,
    arguments=(_SOME,),
    options=(quick.JSON,),
)
_DELETE = quick.Command(
    name="delete",
    about="Delete some that have ended",
    text="Delete predictions that have ended, with their logs and output files. There is no way back.",
    examples=(
        f"yard predictions delete {_ID}",
        "yard predictions -s failed --until 7d --json | jq -r '.[].id' | xargs yard predictions delete --yes",
    ),
    run=delete,
    arguments=(_SOME,),
    options=(quick.YES, quick.JSON),
)

COMMAND = quick.Command(
    name="predictions",
    about="List, show, cancel and delete predictions",
    text="""List, show, cancel and delete your predictions. Without a word after it: the list.

    `yard logs` shows what a prediction prints.
    """,
    examples=(
        "yard predictions --status failed --since 1d",
        f"yard predictions show {_ID}",
        f"yard predictions cancel {_ID}",
        "yard predictions --model yard/hello --json | jq -r '.[].id'",
    ),
    otherwise="list",
    commands={"list": _LIST, "show": _SHOW, "cancel": _CANCEL, "delete": _DELETE},
)
