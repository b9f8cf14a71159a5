"""The documentation is whole: each setting, command, flag and route is in docs/reference, and links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from modelyard import settings
from modelyard.api import openapi
from modelyard.cli import main

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/*.md"), *ROOT.glob("bench/*.md")]
)
METHODS = {"get", "post", "put", "patch", "delete"}


def reference(name: str) -> str:
    return (REFERENCE / name).read_text()


@pytest.mark.parametrize("name", settings.names())
def test_every_setting_is_documented_with_its_flag_variable_and_key(name: str) -> None:
    page = reference("settings.md")
    wanted = [settings.variable(name), f"`{name}`"]
    if not settings.is_secret(name):  # a secret on a command line is seen by everybody on the machine
        wanted.append(settings.flag(name))
    assert not [each for each in wanted if each not in page]


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(main.yard, info_name="yard")
    yield "yard", main.yard
    for name in main.yard.list_commands(context):
        command = main.yard.get_command(context, name)
        assert command is not None
        yield from with_those_below(f"yard {name}", command)


def with_those_below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    for below, one in command.commands.items() if isinstance(command, click.Group) else ():
        yield from with_those_below(f"{name} {below}", one)


def test_every_command_and_every_option_is_documented() -> None:
    page = reference("cli.md")
    missing = []
    for name, command in commands():
        if name not in page:
            missing.append(name)
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                missing += [f"{name} {option}" for option in parameter.opts if f"`{option}" not in page]
    assert not missing


def operations() -> Iterator[tuple[str, str, list[str]]]:
    for path, item in openapi.document("http://127.0.0.1:9273")["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                parameters = [p["name"] for p in operation.get("parameters", []) if p["in"] in {"query", "header"}]
                yield method.upper(), path, parameters


def test_every_operation_of_the_api_is_documented_with_its_parameters() -> None:
    page = reference("api.md")
    missing = []
    for method, path, parameters in operations():
        if f"{method} /v1{path}" not in page:
            missing.append(f"{method} /v1{path}")
        missing += [f"{method} {path}: {name}" for name in parameters if f"`{name}`" not in page]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        where = target.partition("#")[0]
        if where and "://" not in where and not (page.parent / where).exists():
            broken.append(target)
    assert not broken
