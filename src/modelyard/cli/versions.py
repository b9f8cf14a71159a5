"""`yard versions`: list, show, delete."""

from __future__ import annotations

from typing import Any

from modelyard import settings
from modelyard.cli import client, models, quick, table, versioned, watch, words
from modelyard.cli.confirm import confirm
from modelyard.cli.table import Column, Row
from modelyard.cli.talk import Talk, result, result_json

_MOST = 10_000
_COLUMNS = (Column("VERSION"), Column("MADE", right=True), Column("TAG"))


def list_(talk: Talk, model: str, watch_: bool, as_json: bool) -> None:
    """Show those of a model."""
    login = client.required_login(settings.environment())
    path = models.path_of(model)

    def find() -> list[dict[str, Any]]:
        return list(client.pages(login, f"{path}/versions", _MOST))

    def draw(versions: list[dict[str, Any]], view: watch.View) -> list[str]:
        if not versions:
            return [f"{model} has no versions yet. `yard push {model}` makes one, in its project's folder."]
        at = words.now()
        rows = [
            Row([one["id"], words.age(one["created_at"], at), "" if number else "latest"])
            for number, one in enumerate(versions)
        ]
        return table.lines(_COLUMNS, rows, width=view.width, paint=view.paint)

    watch.show(talk, find, draw, as_json=as_json, again=watch_)


def show(talk: Talk, version: str, as_json: bool) -> None:
    """One of them, with what it takes and gives."""
    login = client.required_login(settings.environment())
    model, found = versioned.find(login, version)

    def draw(one: dict[str, Any], view: watch.View) -> list[str]:
        facts = [
            ("version", one["id"]),
            ("model", model),
            ("made", f"{one['created_at']} ({words.age(one['created_at'], words.now())} ago)"),
            ("cog", words.line(one["cog_version"])),
        ]
        return [*table.pairs(facts, width=view.width, paint=view.paint), *models.interface(one, view)]

    watch.show(talk, lambda: found, draw, as_json=as_json, again=False)


def delete(talk: Talk, version: str, yes: bool, as_json: bool) -> None:
    """Take it away."""
    login = client.required_login(settings.environment())
    model, found = versioned.find(login, version)
    confirm(talk, f"Delete version {found['id'][:12]} of {model} for good?", yes=yes)
    client.call(login, "DELETE", f"{models.path_of(model)}/versions/{found['id']}")
    if as_json:
        result_json({"model": model, "version": found["id"], "deleted": True})
    else:
        result(f"{model}:{found['id']} is deleted")


_VERSION = quick.Argument("version", "OWNER/NAME:VERSION", completes="models")

COMMAND = quick.Command(
    name="versions",
    about="List, show and delete versions of a model",
    text="List, show and delete versions of a model. With a model alone: the list.",
    examples=(
        "yard versions yard/hello",
        "yard versions show yard/hello:5f3c9a1e",
        "yard versions delete yard/hello:5f3c9a1e",
    ),
    otherwise="list",
    commands={
        "list": quick.Command(
            name="list",
            about="List those of a model",
            text="List the versions of a model, the newest first.",
            examples=("yard versions yard/hello", "yard versions yard/hello --json | jq -r '.[0].id'"),
            run=list_,
            arguments=(quick.Argument("model", "OWNER/NAME", completes="models"),),
            options=(quick.WATCH, quick.JSON),
        ),
        "show": quick.Command(
            name="show",
            about="Show one, with its inputs",
            text="Show a version: when it was made, and what it takes and gives. The beginning of its id is enough.",
            examples=("yard versions show yard/hello:5f3c9a1e", "yard versions show yard/hello:5f3c9a1e --json"),
            run=show,
            arguments=(_VERSION,),
            options=(quick.JSON,),
        ),
        "delete": quick.Command(
            name="delete",
            about="Delete one",
            text="""Delete a version of a private model of yours of which nothing waits or runs, with its image and tags
            in the registry. There is no way back.
            """,
            examples=("yard versions delete yard/hello:5f3c9a1e", "yard versions delete yard/hello:5f3c9a1e --yes"),
            run=delete,
            arguments=(_VERSION,),
            options=(quick.YES, quick.JSON),
        ),
    },
)
