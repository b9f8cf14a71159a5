"""The command's door: finds the sub-command, loads only that one, and turns every failure into words and a status."""

from __future__ import annotations

import errno
import importlib
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

import click

from modelyard import settings
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError, UsageError

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives, and its line in the list: enough to show help without loading it."""

    module: str
    about: str
    hidden: bool = False


COMMANDS = {
    "init": Entry("modelyard.cli.init", "Make a project in the current folder"),
    "run": Entry("modelyard.cli.run", "Run the model of the current folder once"),
    "predict": Entry("modelyard.cli.run", "The same as run", hidden=True),
    "serve": Entry("modelyard.cli.serve", "Serve the model of the current folder over HTTP"),
    "push": Entry("modelyard.cli.push", "Make a version of the model in a yard"),
    "login": Entry("modelyard.cli.login", "Remember a yard's address and your token"),
    "up": Entry("modelyard.cli.server", "Start a yard on this machine"),
    "config": Entry("modelyard.cli.config", "Show every setting and where it comes from"),
}


class Commands(click.Group):
    """A group whose commands are loaded when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, entry in COMMANDS.items() if not entry.hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        # The one late import of the house: `yard --help` and `yard login` need not wait for what `yard up` needs.
        command: click.Command = importlib.import_module(entry.module).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].about) for name in self.list_commands(ctx)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise UsageError(f"yard has no command {name!r}", hint=f"there are: {', '.join(self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="The first minute: `yard init`, `yard run -i text=world`, `yard up`, `yard push`.",
)
@click.version_option(package_name="modelyard", prog_name="yard", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an unexpected failure.")
@click.option("--no-color", is_flag=True, help="No colour; NO_COLOR in the environment does the same.")
@click.pass_context
def yard(ctx: click.Context, debug: bool, no_color: bool) -> None:
    """Package a machine-learning model, give it an API, run it and share it."""
    ctx.obj = Talk(environ=settings.environment(), colour=False if no_color else None)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    talk = Talk(environ=settings.environment(), colour=False if "--no-color" in arguments else None)
    sys.exit(_status(arguments, talk))


def _status(arguments: list[str], talk: Talk) -> int:
    try:
        outcome = yard.main(arguments, prog_name="yard", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        talk.say(error.format_message())
        return 2
    except click.UsageError as error:
        talk.error(_sentence(error), hint=f"{error.ctx.command_path} --help" if error.ctx else "yard --help")
        return 2
    except ModelyardError as error:
        talk.error(error.detail, error.hint)
        return UsageError.exit_status if isinstance(error, UsageError) else 1
    except (KeyboardInterrupt, click.Abort):
        talk.say("")
        return INTERRUPTED
    except OSError as error:
        return _system_said_no(error, talk)
    except Exception as error:
        return _unexpected(error, arguments, talk)
    return outcome if isinstance(outcome, int) else 0


def _sentence(error: click.UsageError) -> str:
    message = error.format_message()
    return message[:1].lower() + message[1:].removesuffix(".")


def _system_said_no(error: OSError, talk: Talk) -> int:
    if error.errno == errno.EPIPE:
        # Whoever read our output has seen enough: `yard config | head -1`.
        sys.stderr.close()
        return 1
    where = f": {error.filename}" if error.filename else ""
    talk.error(f"{error.strerror or error}{where}")
    return 1


def _unexpected(error: Exception, arguments: list[str], talk: Talk) -> int:
    if "--debug" in arguments:
        talk.say("".join(traceback.format_exception(error)).rstrip())
    talk.error(
        f"something unexpected happened: {type(error).__name__}: {error}",
        hint="this is a fault of ours; `yard --debug …` shows where",
    )
    return 1


if __name__ == "__main__":
    main()
