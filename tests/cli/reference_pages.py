"""Writes docs/reference/cli.md and settings.md from the commands and settings themselves.

`python tests/cli/reference_pages.py` writes them; a test compares.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from modelyard import settings
from modelyard.cli import main

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"

_CLI = """\
# Commands

Made from the commands' own help by `python tests/cli/reference_pages.py`.

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 failed, 2 wrong usage (1 where a link to it is
called `cog`), 130 interrupted. Errors are `error: …`, with a next step in `hint: …` where there is one. Colour only on
a terminal, and not with `NO_COLOR`, `COG_NO_COLOR` or `--no-color`. `--debug` and `--no-color` may also follow a
command's name. Commands that talk to a yard read `MODELYARD_URL` and `MODELYARD_TOKEN`, else what `yard login` stored
(`~/.config/modelyard/login.json`, on macOS under `~/Library/Application Support`).
"""

_SETTINGS = """\
# Settings

Made from the settings themselves by `python tests/cli/reference_pages.py`.

A value comes from the first place that has it: a flag of `yard up`, a variable, `yard.toml` in the working folder,
`yard.toml` in the data folder, the default. `yard config` shows each value and its place.

```toml
# yard.toml
port = 8080
public_url = "https://yard.example.org"
```

| setting | flag | variable | default | meaning |
|---|---|---|---|---|
"""

_MORE_SETTINGS = """\

Where nothing is said, the data folder is `$XDG_DATA_HOME/modelyard`, else `~/.local/share/modelyard`, on macOS
`~/Library/Application Support/modelyard`. The database is SQLite in it.

Two variables are read by the commands that talk to a yard: `MODELYARD_URL`, its address, and `MODELYARD_TOKEN`. They
win over what `yard login` stored; a stored token is sent only to the yard that it was stored for.
`yard weights` and `yard push` read `COG_CACHE_DIR`, `COG_MODEL` and its parts, `HF_TOKEN`, `HF_ENDPOINT` and
`DOCKER_CONFIG`; [managed weights](../guides/weights.md) says what they mean. `yard build` and `yard push` read
`MODELYARD_BASE_IMAGE`, `SOURCE_DATE_EPOCH` and `DOCKER_CONFIG`; [Building container images](../guides/build.md) does.
`yard push` and `yard weights import` read `COG_PUSH_CONCURRENCY`, `COG_PUSH_MULTIPART_THRESHOLD` and
`COG_PUSH_DEFAULT_CHUNK_SIZE`; [Pushing](../guides/push.md#how-it-is-sent) does.
"""


def cli_page() -> str:
    context = click.Context(main.yard, info_name="yard")
    parts = [_CLI, *_command("yard", main.yard)]
    for name in main.yard.list_commands(context):
        command = main.yard.get_command(context, name)
        assert command is not None
        parts += _with_those_below(f"yard {name}", command)
    return "\n".join(parts)


def _with_those_below(name: str, command: click.Command) -> Iterator[str]:
    yield from _command(name, command)
    for below, one in command.commands.items() if isinstance(command, click.Group) else ():
        yield from _with_those_below(f"{name} {below}", one)


def _command(name: str, command: click.Command) -> Iterator[str]:
    arguments = [_argument(each) for each in command.params if isinstance(each, click.Argument)]
    yield f"## {name}\n"
    below = [f"[{'|'.join(command.commands)}]"] if isinstance(command, click.Group) and name != "yard" else []
    yield f"`{' '.join([name, *below, '[OPTIONS]', *arguments])}`\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    if options:
        yield "| option | meaning |\n|---|---|"
        yield from (_option(each) for each in options)
        yield ""
    lines = (command.epilog or "").replace("\b", "").strip().splitlines()[1:]
    if lines:
        yield "```sh\n" + "\n".join(line.strip() for line in lines) + "\n```\n"


def _argument(argument: click.Argument) -> str:
    name = (argument.metavar or (argument.name or "").upper()).strip("[]")
    more = "..." if argument.nargs == -1 else ""
    return f"{name}{more}" if argument.required else f"[{name}{more}]"


def _option(option: click.Option) -> str:
    names = [f"`{name}`" for name in option.opts]
    if option.metavar:
        names[-1] = f"`{option.opts[-1]} {option.metavar}`"
    default = f" [default: {option.default:g}]" if option.show_default and isinstance(option.default, float) else ""
    cells = ", ".join(names), " ".join((option.help or "").split()) + default
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def settings_page() -> str:
    return _SETTINGS + "".join(map(_setting, settings.names())) + _MORE_SETTINGS


def _setting(name: str) -> str:
    default = settings.default(name)
    shown = "" if default is None else f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
    flag = "" if settings.is_secret(name) else f"`{settings.flag(name)}`"
    return f"| `{name}` | {flag} | `{settings.variable(name)}` | {shown} | {settings.about(name)} |\n"


PAGES = {"cli.md": cli_page, "settings.md": settings_page}

if __name__ == "__main__":
    for name, render in PAGES.items():
        (REFERENCE / name).write_text(render())
