"""`yard exec`: a command in the environment of the current folder's project."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from modelyard import settings
from modelyard.cli import images, mounted, project
from modelyard.cli.examples import examples
from modelyard.cli.mounted import Shown
from modelyard.cli.project import Folder
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError, UsageError

_INTERRUPTED = 130


class NotStartedError(ModelyardError):
    """The command is not there, or is no program."""


@click.command(
    "exec",
    cls=images.WithSwitches,
    short_help="Run a command in the environment of the current folder",
    context_settings={"allow_interspersed_args": False},
    epilog=examples(
        "yard exec python",
        "yard exec python -V",
        "yard exec -e DEBUG=1 python scripts/convert.py --fast",
        "yard exec bash < setup.sh",
    ),
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND [ARGUMENT]...")
@images.env_option("command")
@click.option(
    "-p",
    "--publish",
    "ports",
    multiple=True,
    metavar="PORT",
    help="With --container: a port of it to be reached here, PORT or HOST:PORT; else every port is here anyway.",
)
@click.option("-f", "--file", metavar="FILE", help="The cog.yaml; else the one in this folder or above.")
@images.local_options
@click.pass_obj
def command(
    talk: Talk,
    /,
    *,
    words: Sequence[str],
    variables: Sequence[str],
    ports: Sequence[str],
    file: str | None,
    **flags: Any,
) -> int:
    """Run COMMAND where the model runs: in the project's folder, with its packages, its variables and its Python.

    `python` is the environment's own. What follows COMMAND belongs to it, options included; so do the terminal and
    standard input. The exit status is 0 when the command's is, else 1.
    """
    if not words:
        raise UsageError("exec is given no command", hint="yard exec python")
    for port in ports:
        _check_port(port)
    environ = settings.environment()
    project.check_variables(variables, environ)
    gpus = images.check_local(flags, talk)
    found = project.locate(Path.cwd(), file, talk)
    if flags["container"]:
        return _in_container(words, ports, found, variables, flags, talk)
    for port in ports:
        _tell_port(port, talk)
    python = project.prepare(found, environ, talk)
    environment = project.model_environment(found, python, environ, variables, gpus)
    # As in an image; the server runs in our Python, beside the model's.
    environment = {**project.told(found), "MODELYARD_SERVER_PYTHON": sys.executable, **environment}
    with mounted.shown(found.root, found.config, environ) as seen:
        return run(words, found.root, environment, seen)


def run(words: Sequence[str], cwd: Path, environment: Mapping[str, str], seen: Shown) -> int:
    """Run a program to its end with our terminal and standard input; gives our exit status. Raises NotStartedError."""
    # What it starts may outlive us, with what it sees.
    more: dict[str, Any] = {"pass_fds": seen.locks} | ({"preexec_fn": partial(_enter, seen)} if seen.mounts else {})
    with _signals_are_for_it() as take:
        try:
            process = subprocess.Popen(list(words), cwd=cwd, env=dict(environment), **more)
        except FileNotFoundError:
            raise NotStartedError(
                f"{words[0]}: there is no such command",
                hint=f"it is looked for in the project's environment, in your PATH and, with a slash, from {cwd}",
            ) from None
        except OSError as error:
            hint = f"chmod +x {words[0]} makes it a program" if isinstance(error, PermissionError) else None
            raise NotStartedError(f"{words[0]}: {error.strerror or error}", hint=hint) from None
        except subprocess.SubprocessError:
            raise NotStartedError(f"{words[0]}: the weights could not be shown to it") from None
        take(process)
        status = process.wait()
    return _INTERRUPTED if status == -signal.SIGINT else min(abs(status), 1)


def _enter(seen: Shown) -> None:
    """In the new process, before the program: see the weights."""
    from modelyard_runner import view  # it loads ctypes, which only weights need

    view.enter(seen.mounts)


@contextmanager
def _signals_are_for_it() -> Iterator[Any]:
    """Ctrl-C reaches the program by itself, and it decides what that means; SIGTERM is passed on."""
    running: list[subprocess.Popen[bytes]] = []

    def pass_on(*_: object) -> None:
        for one in running:
            one.terminate()

    # Not SIG_IGN: a program would inherit that.
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
        signal.SIGTERM: signal.signal(signal.SIGTERM, pass_on),
    }
    try:
        yield running.append
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_port(text: str) -> None:
    """`PORT` or `HOST:PORT`, where HOST is an address or a port of this machine. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    for number in [port, *([host] if re.fullmatch(r"\d+", host) else [])]:
        if not re.fullmatch(r"0*[0-9]{1,5}", number) or not 0 < int(number) < 65536:
            raise UsageError(f'invalid port "{text}": wanted is PORT or HOST:PORT, PORT from 1 to 65535')
    if colon and not host:
        raise UsageError(f'invalid port "{text}": wanted is PORT or HOST:PORT, PORT from 1 to 65535')


def _tell_port(text: str, talk: Talk) -> None:
    host, _, port = text.rpartition(":")
    if host.isdigit() and int(host) != int(port):
        talk.warn(f"ports are not mapped here: what listens on {port} is reached at {port}, not at {host}")


# In a container


def _in_container(
    words: Sequence[str],
    ports: Sequence[str],
    found: Folder,
    variables: Sequence[str],
    flags: Mapping[str, Any],
    talk: Talk,
) -> int:
    # Only these commands pay for what they need.
    from modelyard.cli import container, project_container

    environ = settings.environment()
    with project_container.made(found, variables, flags, environ, talk) as made:
        plan = container.with_gpus_here(made.plan, made.engine, talk)
        seen = ["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
        published = [word for port in ports for word in ("--publish", _published(port))]
        asked = ["docker", "run", "--rm", "--interactive", *seen, *published, *plan.flags(environ)]
        return run([*asked, plan.image, *words], found.root, plan.environment(environ), Shown())


def _published(text: str) -> str:
    """`HOST:PORT` as Docker has it; what names no address is for this machine alone."""
    host, _, port = text.rpartition(":")
    if not host or host.isdigit():
        return f"127.0.0.1:{host or port}:{port}"
    return f"{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{port}:{port}"
