"""Commands described as data, so that those of every day start without the library that parses the others.

`parse` understands what is plain. Whatever is not (help, a mistake, a shell that completes) goes to the library, which
is given the same description (`cli.group`) and has the words for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Option(NamedTuple):
    """`flags`: its spellings, the long one last. `kind`: `flag`, `text`, `number`. `multiple`: may be repeated."""

    flags: tuple[str, ...]
    name: str
    help: str
    kind: str = "flag"
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    multiple: bool = False
    default: Any = None


class Argument(NamedTuple):
    """`completes`: what a shell may offer for it: `models`. `multiple`: one or more."""

    name: str
    metavar: str
    required: bool = True
    multiple: bool = False
    completes: str = ""


class Command(NamedTuple):
    """`run(talk, **values)` gives the exit status, or None for 0. `commands`: what stands below it.

    Where there are commands below, the one named by `otherwise` is meant when none is named.
    """

    name: str
    about: str
    text: str
    examples: tuple[str, ...]
    run: Callable[..., int | None] | None = None
    options: tuple[Option, ...] = ()
    arguments: tuple[Argument, ...] = ()
    commands: Mapping[str, Command] = {}
    otherwise: str = ""


class Call(NamedTuple):
    """A command and what it was given."""

    run: Callable[..., int | None]
    values: dict[str, Any]


JSON = Option(("--json",), "as_json", "Print JSON, for scripts.")
WATCH = Option(("-w", "--watch"), "watch_", "Show it again every two seconds until Ctrl-C.")
YES = Option(("-y", "--yes"), "yes", "Do not ask.")


def parse(command: Command, words: Sequence[str]) -> Call | None:
    """What is called; None for what is not plain."""
    if command.commands:
        named = bool(words) and words[0] in command.commands
        below = command.commands[words[0] if named else command.otherwise]
        return parse(below, words[1:] if named else words)
    known = {flag: option for option in command.options for flag in option.flags}
    values: dict[str, Any] = {each.name: _empty(each) for each in command.options}
    given: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            given.append(word)
            continue
        flag, equals, text = word.partition("=")
        option = known.get(flag)
        if option is None or (equals and option.kind == "flag") or not _take(option, text, equals, rest, values):
            return None
    if command.run is None or not _fill(command.arguments, given, values):
        return None
    return Call(command.run, values)


def _empty(option: Option) -> Any:
    return () if option.multiple else False if option.kind == "flag" else option.default


def _take(option: Option, text: str, equals: str, rest: list[str], values: dict[str, Any]) -> bool:
    if option.kind == "flag":
        values[option.name] = True
        return True
    if not equals:
        if not rest or rest[0].startswith("-"):
            return False
        text = rest.pop(0)
    value: str | int = text
    if option.kind == "number":
        if not (text.isascii() and text.isdigit()):
            return False
        value = int(text)
    if option.choices and value not in option.choices:
        return False
    values[option.name] = (*values[option.name], value) if option.multiple else value
    return True


def _fill(arguments: Sequence[Argument], given: list[str], values: dict[str, Any]) -> bool:
    for argument in arguments:
        if argument.multiple:
            values[argument.name], given = tuple(given), []
        else:
            values[argument.name] = given.pop(0) if given else None
        if argument.required and not values[argument.name]:
            return False
    return not given
