"""`yard serve`: Cog's HTTP API of the model of the current folder, without a yard."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from modelyard import settings, timeouts
from modelyard.cli import images, mounted, project
from modelyard.cli import playground as playgrounds
from modelyard.cli.asked import Served
from modelyard.cli.examples import examples
from modelyard.cli.reloading import Reloading
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError
from modelyard_runner import log_lines
from modelyard_runner import serve as box
from modelyard_runner.variables import read as told_by

PORT = 8393
_PLAYGROUND_PORT = 9000
_PAGE_HOST = "127.0.0.1"
_NOT_SERVED = "The model could not be loaded: requests are answered 503. With --reload the next change tries again."
_ANYBODY = "--local-paths at {host}: whoever reaches this server can have the model read whatever you can read"
_WITH_CONTAINER = {
    "--reload": "without --container it loads the model again; a container is started again by hand",
    "--local-paths": "the paths of a caller are none of the container's",
}
_LOCAL = ("127.0.0.1", "::1", "localhost")
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - only compared


@click.command(
    "serve",
    cls=images.WithSwitches,
    short_help="Serve the model of the current folder over HTTP",
    epilog=examples(
        "yard serve",
        "yard serve --reload",
        "yard serve --workers 4",
        "yard serve -p 5000 --host 0.0.0.0",
        'curl localhost:8393/predictions -H \'Content-Type: application/json\' -d \'{"input": {"text": "world"}}\'',
    ),
)
@click.option(
    "-p",
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    metavar="PORT",
    help=f"Port to listen on.  [default: {PORT}]",
)
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--upload-url", metavar="URL", help="Where output files go; without it they are data URLs.")
@click.option(
    "--local-paths/--no-local-paths",
    default=None,
    help="Whether callers may name files of this machine as inputs.  [default: only where just this machine is listened"
    " to]",
)
@images.env_option("model")
@click.option("-f", "--file", metavar="FILE", help="The cog.yaml; else the one in this folder or above.")
@click.option(
    "--setup-timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long setup may take, unless the model says less; without it, any time.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="How many processes hold the model, each with memory of its own.  [default: 1]",
)
@click.option("--reload", is_flag=True, help="Load the model again whenever its source changes.")
@click.option(
    "--no-restart", is_flag=True, help="Leave the server without a worker when that dies (DEFUNCT), as Cog does."
)
@click.option("--playground", is_flag=True, help="Serve a page with a form for the model too.")
@click.option(
    "--playground-port",
    type=click.IntRange(0, 65535),
    default=_PLAYGROUND_PORT,
    metavar="PORT",
    help=f"Port of that page.  [default: {_PLAYGROUND_PORT}]",
)
@images.local_options
@click.pass_obj
def command(
    talk: Talk,
    /,
    *,
    port: int,
    host: str,
    upload_url: str | None,
    local_paths: bool | None,
    variables: Sequence[str],
    file: str | None,
    setup_timeout: float | None,
    workers: int,
    reload: bool,
    no_restart: bool,
    playground: bool,
    playground_port: int,
    **flags: Any,
) -> int:
    """Serve the model of the current folder over HTTP, as Cog does, without a yard.

    POST /predictions runs it, GET /health-check tells its state, GET /openapi.json its inputs. Nobody is asked for a
    token. What the model prints goes to stderr. Ctrl-C stops it: what runs may finish; a second one stops at once.

    With --reload a change of a Python file, of cog.yaml or of the requirements loads the model again, after what runs
    has finished; until its setup is done requests are answered 503, as after a start. A mistake that can be seen in the
    text is told, and what was loaded goes on.
    """
    gpus = images.check_local(flags, talk)
    page = _Page(host, port, playground_port, talk) if playground else None
    if local_paths and not _is_local(host):
        talk.warn(_ANYBODY.format(host=host))
    if upload_url is not None:
        upload_url = settings.address(upload_url, "--upload-url")
    asked = Served(
        host=host,
        port=port,
        upload_url=upload_url,
        local_paths=_is_local(host) if local_paths is None else local_paths,
        setup_timeout=setup_timeout,
        workers=workers,
        restart=not no_restart,
    )
    if flags["container"]:
        _check_contained("--reload" if reload else "--local-paths" if local_paths else None)
        # Only these servers pay for what they need.
        from modelyard.cli import project_serve

        return project_serve.serve(asked, file, variables, flags, talk, partial(_say_where, host, page=page, talk=talk))

    environ = settings.environment()

    def read() -> box.ServeOptions:
        found = project.find_served(Path.cwd(), file, talk, variables)
        python = project.prepare(found, environ, talk)
        environment = project.model_environment(found, python, environ, variables, gpus)
        options = _options(asked, found, python, environment, page, talk)
        return replace(options, mounts=showing.take(found.root, found.config).mounts)

    with contextlib.ExitStack() as stack:
        showing = mounted.Showing(environ, stack)
        options = read()
        if reload:
            options = replace(options, renewed=Reloading(options.root, read, talk))
        return box.serve(options)


def _check_contained(flag: str | None) -> None:
    if flag is not None:
        raise UsageError(f"{flag} and --container cannot be given together", hint=_WITH_CONTAINER[flag])


def _options(
    asked: Served, found: project.Project, python: Path, environment: dict[str, str], page: _Page | None, talk: Talk
) -> box.ServeOptions:
    own, told = timeouts.read(environment), told_by(environment)
    return box.ServeOptions(
        root=found.root,
        ref=found.ref,
        mode=found.mode,
        train_ref=found.config.train if found.mode == "predict" else None,
        python=str(python),
        env=environment,
        host=asked.host,
        port=asked.port,
        upload_url=asked.upload_url,
        local_paths=asked.local_paths,
        workers=asked.workers,
        restart=asked.restart,
        concurrency=told.concurrency or found.config.concurrency,
        weights=told.weights,
        webhook_token=told.webhook_token,
        throttle=told.throttle,
        stream_history=told.stream_history,
        setup_timeout=own.setup_seconds if asked.setup_timeout is None else own.setup_within(asked.setup_timeout),
        run_timeout=own.run_seconds,
        schema=json.dumps(found.document).encode(),
        python_version=found.config.python_version,
        report=_log(environment, talk),
        serving=lambda taken: _say_where(asked.host, taken, page, talk),
        ready=lambda well: talk.say("Ready." if well else _NOT_SERVED),
    )


def _log(told: Mapping[str, str], talk: Talk) -> Callable[[str], None]:
    """Has what the server logs written as the model's variables say; gives what takes the model's prints."""
    form = told.get("LOG_FORMAT")
    least = log_lines.level(told.get("COG_LOG_LEVEL"), told.get("RUST_LOG"), logging.WARNING)
    say = log_lines.set_up(form, least)
    return say if log_lines.is_json(form) else talk.piece


class _Page:
    """The page beside the server, on this machine; its address is taken at once. Raises UsageError."""

    def __init__(self, host: str, model_port: int, port: int, talk: Talk) -> None:
        if port and port == model_port:
            raise UsageError(f"playground port {port} must differ from the model port {port}")
        self._model_host = host if host not in _EVERYWHERE else "::1" if ":" in host else "127.0.0.1"
        self._listening = playgrounds.take(_PAGE_HOST, port, flag="--playground-port")
        self._talk = talk
        self._is_served = False

    def begin(self, model_port: int) -> None:
        """Serve it, now that the model's server listens; again: nothing."""
        if self._is_served:
            return
        from modelyard.cli import playground_app  # late: takes longer to load than to serve without it

        self._is_served = True
        shown = f"[{self._model_host}]" if ":" in self._model_host else self._model_host
        playground_app.serve_beside(f"http://{shown}:{model_port}", _PAGE_HOST, self._listening)
        port = self._listening.getsockname()[1]
        self._talk.say(f"Playground at {playgrounds.page_address(_PAGE_HOST, port)}")


def _say_where(host: str, port: int, page: _Page | None, talk: Talk) -> None:
    talk.say(f"Serving at {_address(host, port)}")
    if page is not None:
        page.begin(port)


def _is_local(host: str) -> bool:
    """Can only this machine connect to that address?"""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(host: str, port: int) -> str:
    if host in _LOCAL:
        return f"http://localhost:{port}"
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}" + (f" (http://localhost:{port})" if host in _EVERYWHERE else "")
