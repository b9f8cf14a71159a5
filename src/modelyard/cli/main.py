"""The command's door: finds the sub-command, loads only that one, and turns every failure into words and a status."""

from __future__ import annotations

import errno
import gc
import importlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from modelyard import settings
from modelyard.cli import program, quick
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError, UsageError

INTERRUPTED = 130
# Loaded by name where it is needed, as the commands are: it takes longer to load than a command of every day to run.
_GROUP = "modelyard.cli.group"


class Entry(NamedTuple):
    """Where a command lives, and its line in the list: enough to show help without loading it.

    `quick`: it is described as data (`COMMAND` of its module), and started without the library for command lines.
    """

    module: str
    about: str
    hidden: bool = False
    quick: bool = False


COMMANDS = {
    "init": Entry("modelyard.cli.init", "Make a project in the current folder"),
    "run": Entry("modelyard.cli.run", "Run the model of the current folder once"),
    "predict": Entry("modelyard.cli.run", "The same as run", hidden=True),
    "exec": Entry("modelyard.cli.execute", "Run a command in the environment of the current folder"),
    "train": Entry("modelyard.cli.train", "Train the model of the current folder once"),
    "build": Entry("modelyard.cli.build", "Make a container image of the model"),
    "debug": Entry("modelyard.cli.debug", "Print the Dockerfile that yard build has executed"),
    "serve": Entry("modelyard.cli.serve", "Serve the model of the current folder over HTTP"),
    "playground": Entry("modelyard.cli.playground", "Open a page with a form for a model that is served"),
    "doctor": Entry("modelyard.cli.doctor", "Find what is wrong with the project of the current folder"),
    "push": Entry("modelyard.cli.push", "Make a version of the model in a yard, or send its image to a registry"),
    "weights": Entry("modelyard.cli.weights", "Import, pull and check the project's weights"),
    "login": Entry("modelyard.cli.login", "Remember a yard's address and your token"),
    "up": Entry("modelyard.cli.server", "Start a yard on this machine"),
    "open": Entry("modelyard.cli.open", "Open the yard in a browser, signed in"),
    "down": Entry("modelyard.cli.down", "Stop the yard of this machine", quick=True),
    "status": Entry("modelyard.cli.status", "Say whether the yard is well and what waits", quick=True),
    "ps": Entry("modelyard.cli.ps", "List instances, what they hold and run", quick=True),
    "logs": Entry("modelyard.cli.logs", "Show what predictions and instances print", quick=True),
    "predictions": Entry("modelyard.cli.predictions", "List, show, cancel and delete predictions", quick=True),
    "models": Entry("modelyard.cli.models", "List, show and delete models", quick=True),
    "versions": Entry("modelyard.cli.versions", "List, show and delete versions of a model", quick=True),
    "secrets": Entry("modelyard.cli.secrets", "Set, list and delete secrets of a model", quick=True),
    "backup": Entry("modelyard.cli.backup", "Write the whole yard into one file, while it runs"),
    "restore": Entry("modelyard.cli.restore", "Put a backup back"),
    "completion": Entry("modelyard.cli.completion", "Print what makes a shell complete this command"),
    "images": Entry("modelyard.cli.image_list", "List what a yard's registry keeps, with sizes"),
    "prune": Entry("modelyard.cli.prune", "Remove what is old or unused from a yard"),
    "config": Entry("modelyard.cli.config", "Show every setting and where it comes from"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage (1 where it is called `cog`), 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    talk = Talk(environ=settings.environment(), colour=False if "--no-color" in arguments else None)
    sys.exit(program.exit_status(_status(arguments, talk)))


def __getattr__(name: str) -> Any:
    """`yard`: the whole command as the library for command lines has it, made when somebody asks for it."""
    if name == "yard":
        return importlib.import_module(_GROUP).make(COMMANDS)
    raise AttributeError(name)


def _status(arguments: list[str], talk: Talk) -> int:
    try:
        return _call(arguments, talk) or 0
    except ModelyardError as error:
        talk.error(error.detail, error.hint)
        return UsageError.exit_status if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        talk.say("")
        return INTERRUPTED
    except OSError as error:
        return _system_said_no(error, talk)
    except Exception as error:
        return _unexpected(error, arguments, talk)


def _call(arguments: list[str], talk: Talk) -> int | None:
    """A command of every day at once; the others, and whatever is not plain, by way of the library."""
    entry = COMMANDS.get(arguments[0]) if arguments else None
    if entry is not None and entry.quick:
        # It ends in a moment; looking for circles among what was imported is a tenth of that.
        gc.disable()
        call = quick.parse(importlib.import_module(entry.module).COMMAND, arguments[1:])
        if call is not None:
            return call.run(talk, **call.values)
    outcome: int | None = importlib.import_module(_GROUP).run(COMMANDS, arguments, talk)
    return outcome


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
        import traceback

        talk.say("".join(traceback.format_exception(error)).rstrip())
    talk.error(
        f"something unexpected happened: {type(error).__name__}: {error}",
        hint="this is a fault of ours; `yard --debug …` shows where",
    )
    return 1


if __name__ == "__main__":
    main()
