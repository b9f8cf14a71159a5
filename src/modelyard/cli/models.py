"""`yard models`: list, show, delete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from modelyard import settings
from modelyard.cli import client, quick, table, watch, words
from modelyard.cli.confirm import confirm
from modelyard.cli.table import Column, Row
from modelyard.cli.talk import Talk, result, result_json
from modelyard.errors import UsageError

_MOST = 10_000
_COLUMNS = (
    Column("MODEL"),
    Column("RUNS", right=True),
    Column("LATEST VERSION"),
    Column("MADE", right=True),
    Column("SEEN BY"),
    Column("ABOUT", elastic=True),
)
_INPUTS = (Column("INPUT"), Column("TYPE"), Column("DEFAULT", elastic=True), Column("ABOUT", elastic=True))


def path_of(model: str) -> str:
    """The path of a model in the API. Raises UsageError for what is no `owner/name`."""
    owner, slash, name = model.partition("/")
    if not (owner and slash and name) or "/" in name:
        raise UsageError(f"{model!r} is no model; wanted: OWNER/NAME", hint="yard models lists them")
    return f"/v1/models/{quote(owner, safe='')}/{quote(name, safe='')}"


# List


def list_(talk: Talk, watch_: bool, as_json: bool) -> None:
    """Show those that one may see."""
    login = client.required_login(settings.environment())
    watch.show(talk, lambda: list(client.pages(login, "/v1/models", _MOST)), _draw_list, as_json=as_json, again=watch_)


def _draw_list(models: list[dict[str, Any]], view: watch.View) -> list[str]:
    if not models:
        return ["There are no models yet. `yard push OWNER/NAME` makes the first, in a project's folder."]
    at = words.now()
    return table.lines(_COLUMNS, [_row(model, at) for model in models], width=view.width, paint=view.paint)


def _row(model: dict[str, Any], at: float) -> Row:
    latest = model["latest_version"]
    return Row(
        [
            f"{model['owner']}/{model['name']}",
            f"{model['run_count']:,}",
            "none" if latest is None else latest["id"][:12],
            "" if latest is None else words.age(latest["created_at"], at),
            "all" if model["visibility"] == "public" else "owner",
            words.line(model["description"] or ""),
        ]
    )


# Show


def show(talk: Talk, model: str, as_json: bool) -> None:
    """One of them, with its inputs."""
    login = client.required_login(settings.environment())
    path = path_of(model)
    watch.show(talk, lambda: client.call(login, "GET", path), _draw_one, as_json=as_json, again=False)


def _draw_one(model: dict[str, Any], view: watch.View) -> list[str]:
    latest = model["latest_version"]
    at = words.now()
    facts = [("model", f"{model['owner']}/{model['name']}")]
    facts += [("about", words.plain(model["description"]))] if model["description"] else []
    facts += [
        ("seen by", "all" if model["visibility"] == "public" else "its owner"),
        ("runs", f"{model['run_count']:,}"),
        ("made", f"{model['created_at']} ({words.age(model['created_at'], at)} ago)"),
        ("address", model["url"]),
    ]
    facts += [(name, words.line(model[f"{name}_url"])) for name in ("github", "paper") if model.get(f"{name}_url")]
    if latest is None:
        facts.append(("version", f"none; yard push {model['owner']}/{model['name']} makes one"))
        return table.pairs(facts, width=view.width, paint=view.paint)
    facts.append(("version", f"{latest['id']} ({words.age(latest['created_at'], at)} ago)"))
    return [*table.pairs(facts, width=view.width, paint=view.paint), *interface(latest, view)]


def interface(version: dict[str, Any], view: watch.View) -> list[str]:
    """What a version takes and gives."""
    schemas = version["openapi_schema"].get("components", {}).get("schemas", {})
    rows = list(_inputs(schemas))
    lines = ["", *table.lines(_INPUTS, rows, width=view.width, paint=view.paint)] if rows else []
    return [*lines, "", f"{view.paint('output', 'quiet')}  {_type(schemas.get('Output', {}), schemas)}"]


def _inputs(schemas: dict[str, Any]) -> Iterator[Row]:
    described = schemas.get("Input", {})
    required = described.get("required", [])
    inputs = described.get("properties", {})
    for name, one in sorted(inputs.items(), key=lambda item: item[1].get("x-order", 0)):
        default = "required" if name in required else _default(one["default"]) if "default" in one else ""
        yield Row([name, _type(one, schemas), default, words.line(one.get("description") or "")])


def _default(value: Any) -> str:
    return words.line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _type(one: dict[str, Any], schemas: dict[str, Any]) -> str:
    for part in [one, *one.get("allOf", [])]:
        if "$ref" in part:
            return _type(schemas.get(part["$ref"].rpartition("/")[2], {}), schemas)
    if "enum" in one:
        return words.cut("|".join(map(str, one["enum"])), 30)
    if one.get("type") == "array":
        return f"list of {_type(one.get('items', {}), schemas)}"
    if one.get("format") == "uri":
        return "file"
    if one.get("format") == "password":
        return "secret"
    bounds = [f"{word} {one[key]:g}" for word, key in (("from", "minimum"), ("to", "maximum")) if key in one]
    return " ".join([str(one.get("type", "any")), *bounds])


# Delete


def delete(talk: Talk, model: str, with_versions: bool, yes: bool, as_json: bool) -> None:
    """Take it away, its versions first where that is wanted."""
    login = client.required_login(settings.environment())
    path = path_of(model)
    client.call(login, "GET", path)
    versions = [one["id"] for one in client.pages(login, f"{path}/versions", _MOST)]
    if versions and not with_versions:
        raise UsageError(
            f"{model} has {words.counted(len(versions), 'version')}", hint=f"yard models delete {model} --with-versions"
        )
    also = f" and its {words.counted(len(versions), 'version')}" if versions else ""
    confirm(talk, f"Delete {model}{also} for good?", yes=yes)
    for version in versions:
        client.call(login, "DELETE", f"{path}/versions/{version}")
    client.call(login, "DELETE", path)
    if as_json:
        result_json({"model": model, "deleted": True, "versions": versions})
    else:
        result(f"{model} is deleted")


_MODEL = quick.Argument("model", "OWNER/NAME", completes="models")

COMMAND = quick.Command(
    name="models",
    about="List, show and delete models",
    text="List, show and delete models. Without a word after it: the list.",
    examples=("yard models", "yard models show yard/hello", "yard models delete yard/hello --with-versions"),
    otherwise="list",
    commands={
        "list": quick.Command(
            name="list",
            about="List those that you may see",
            text="List the public models and your own, those with the newest versions first.",
            examples=(
                "yard models",
                "yard models --watch",
                """yard models --json | jq -r '.[] | "\\(.owner)/\\(.name)"'""",
            ),
            run=list_,
            options=(quick.WATCH, quick.JSON),
        ),
        "show": quick.Command(
            name="show",
            about="Show one, with its inputs",
            text="Show a model: what describes it, its latest version, and what that takes and gives.",
            examples=("yard models show yard/hello", "yard models show yard/hello --json | jq .latest_version.id"),
            run=show,
            arguments=(_MODEL,),
            options=(quick.JSON,),
        ),
        "delete": quick.Command(
            name="delete",
            about="Delete one of yours",
            text="""Delete a private model of yours. Its predictions stay. There is no way back.

            A version of which predictions wait or run is not deleted; cancel them first.
            """,
            examples=("yard models delete yard/hello", "yard models delete yard/hello --with-versions --yes"),
            run=delete,
            arguments=(_MODEL,),
            options=(
                quick.Option(("--with-versions",), "with_versions", "Delete its versions, too."),
                quick.YES,
                quick.JSON,
            ),
        ),
    },
)
