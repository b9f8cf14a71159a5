"""The commands as the library for command lines has them: help, words for mistakes, completion in shells."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import click
from click.shell_completion import CompletionItem

from modelyard import settings
from modelyard.cli import client, program, quick
from modelyard.cli.examples import examples
from modelyard.cli.images import REGISTRY
from modelyard.cli.talk import Talk, result
from modelyard.errors import ModelyardError, UsageError

_INTERRUPTED = 130
# The same under every name: it is what `yard completion` tells shells.
_COMPLETE = "_YARD_COMPLETE"
# A person has pressed Tab and waits.
_COMPLETION_SECONDS = 1.0
# How much of a mistyped option must be as in one that there is.
_ALIKE = 0.75


class Entry(Protocol):
    """Where a command lives, and its line in the list."""

    @property
    def module(self) -> str: ...
    @property
    def about(self) -> str: ...
    @property
    def hidden(self) -> bool: ...


Table = Mapping[str, Entry]


class Commands(click.Group):
    """A group whose commands are loaded when they are called."""

    table: Table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, entry in self.table.items() if not entry.hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        # The one late import of the house: `yard --help` and `yard login` need not wait for what `yard up` needs.
        module = importlib.import_module(entry.module)
        command: click.Command = module.command if hasattr(module, "command") else _command(module.COMMAND)
        _take_global_options(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.table[name].about) for name in self.list_commands(ctx)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.table and not name.startswith("-"):
            raise UsageError(
                f'unknown command "{name}" for "{ctx.info_name}"',
                hint=f"there are: {', '.join(self.list_commands(ctx))}",
            )
        return super().resolve_command(ctx, args)


class _Below(click.Group):
    """Commands below a command, one of which is meant when none is named."""

    def __init__(self, described: quick.Command) -> None:
        below = {name: _command(one) for name, one in described.commands.items()}
        super().__init__(described.name, commands=below, help=described.text, epilog=examples(*described.examples))
        self.otherwise = described.otherwise

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        helped = len(args) == 1 and args[0] in ctx.help_option_names
        if not (args and args[0] in self.commands) and not helped and not (ctx.resilient_parsing and not args):
            takes_words = any(isinstance(one, click.Argument) for one in self.commands[self.otherwise].params)
            if args and not args[0].startswith("-") and not takes_words:
                raise UsageError(
                    f"{ctx.command_path} has no command {args[0]!r}", hint=f"there are: {', '.join(self.commands)}"
                )
            args = [self.otherwise, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands below, and what may follow where none is named."""
        other = self.commands[self.otherwise]
        found = super().shell_complete(ctx, incomplete) + click.Command.shell_complete(other, ctx, incomplete)
        for parameter in other.params:
            if isinstance(parameter, click.Argument):
                found += parameter.shell_complete(ctx, incomplete)
        return list({item.value: item for item in found}.values())


def make(table: Table) -> click.Group:
    """`yard` with the commands of a table."""

    @click.group(
        cls=Commands,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        epilog="The first minute: `yard init`, `yard run -i text=world`, `yard up`, `yard push`.",
    )
    @click.option("--version", is_flag=True, is_eager=True, callback=_show_version, help="Print the version.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an unexpected failure.")
    @click.option("--no-color", is_flag=True, help="No colour; NO_COLOR in the environment does the same.")
    @click.option("--profile", is_flag=True, hidden=True, expose_value=False)
    @click.option(REGISTRY, hidden=True, expose_value=False)
    @click.pass_context
    def yard(ctx: click.Context, version: bool, debug: bool, no_color: bool) -> None:
        """Package a machine-learning model, give it an API, run it and share it."""
        ctx.obj = Talk(environ=settings.environment(), colour=False if no_color else None)

    group: Commands = yard
    group.table = table
    return group


def _show_version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """`yard 1.2.3`; for scripts that call it `cog`, the Cog that it stands in for, in Cog's form."""
    if not wanted or ctx.resilient_parsing:
        return
    from importlib import metadata  # half as slow as all of click, and for this alone

    ours = metadata.version("modelyard")
    if program.name() == "cog":
        from modelyard_runner.versions import COG_VERSION

        result(f"cog version {COG_VERSION} (Modelyard {ours})")
    else:
        result(f"yard {ours}")
    ctx.exit()


def _take_global_options(command: click.Command) -> None:
    """Let `--debug` and its like stand after a command's name as well, as people write them."""
    taken = {flag for one in command.params for flag in one.opts}
    for flag, act in _FLAGS.items():
        if flag not in taken:
            command.params.append(click.Option([flag], is_flag=True, hidden=True, expose_value=False, callback=act))
    if REGISTRY not in taken:
        command.params.append(click.Option([REGISTRY], hidden=True, expose_value=False))
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _take_global_options(below)


def _without_colour(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.obj = Talk(environ=settings.environment(), colour=False)


# `--profile` is Cog's, and measures nothing here.
_FLAGS: dict[str, Callable[..., None] | None] = {"--debug": None, "--profile": None, "--no-color": _without_colour}


def run(table: Table, arguments: Sequence[str], talk: Talk) -> int:
    """Call `yard` with these arguments; the exit status. What a command raises goes through."""
    name = program.name()
    try:
        outcome = make(table).main(list(arguments), prog_name=name, complete_var=_COMPLETE, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        talk.say(error.format_message())
        return program.status_without_command()
    except click.UsageError as error:
        called = error.ctx.command_path if error.ctx else _called(table, arguments, name)
        talk.error(_sentence(error), hint=f"{called} --help")
        return 2
    except click.Abort:
        talk.say("")
        return _INTERRUPTED
    return outcome if isinstance(outcome, int) else 0


def _called(table: Table, arguments: Sequence[str], name: str) -> str:
    """The command that was called, for an error that the library does not say the place of."""
    called = next((word for word in arguments if word in table), None)
    return f"{name} {called}" if called else name


def _sentence(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption):
        # The library finds likenesses where nobody else does.
        near = difflib.get_close_matches(error.option_name, error.possibilities or (), n=1, cutoff=_ALIKE)
        error = click.NoSuchOption(error.option_name, possibilities=near, ctx=error.ctx)
    message = error.format_message()
    return message[:1].lower() + message[1:].removesuffix(".")


# What is described as data


def _command(described: quick.Command) -> click.Command:
    if described.commands:
        return _Below(described)
    parameters: list[click.Parameter] = [_argument(one) for one in described.arguments]
    parameters += [_option(one) for one in described.options]
    assert described.run is not None  # noqa: S101 - what has nothing below it does something
    return click.Command(
        described.name,
        params=parameters,
        callback=_calling(described.run),
        help=described.text,
        short_help=described.about,
        epilog=examples(*described.examples),
    )


def _calling(run: Callable[..., int | None]) -> Callable[..., int | None]:
    @click.pass_obj
    def call(talk: Talk, /, **values: Any) -> int | None:
        return run(talk, **values)

    return call


def _option(one: quick.Option) -> click.Option:
    if one.kind == "flag":
        return click.Option([*one.flags, one.name], is_flag=True, help=one.help)
    kind: Any = click.Choice(one.choices) if one.choices else click.IntRange(min=0) if one.kind == "number" else str
    return click.Option(
        [*one.flags, one.name],
        type=kind,
        multiple=one.multiple,
        default=None if one.multiple else one.default,
        metavar=one.metavar,
        help=one.help if one.default is None else f"{one.help}  [default: {one.default}]",
    )


def _argument(one: quick.Argument) -> click.Argument:
    return click.Argument(
        [one.name],
        required=one.required,
        nargs=-1 if one.multiple else 1,
        metavar=one.metavar if one.required else f"[{one.metavar}]",
        shell_complete=_models if one.completes == "models" else None,
    )


def _models(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The names of the yard's models, if it says them at once."""
    try:
        login = client.required_login(settings.environment())
        page = client.call(login, "GET", "/v1/models", timeout_seconds=_COMPLETION_SECONDS)
        names = [f"{model['owner']}/{model['name']}" for model in page["results"]]
    except (ModelyardError, KeyError, TypeError):
        # Who completes a word must not be answered with an error.
        return []
    return [CompletionItem(name) for name in names if name.startswith(begun)]
