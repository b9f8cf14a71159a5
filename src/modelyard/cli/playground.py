"""`yard playground`: a page with a form for a model that is served."""

from __future__ import annotations

import errno
import socket
import sys
import webbrowser
from collections.abc import Mapping

import click

from modelyard import settings
from modelyard.cli.examples import examples
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError

TARGET = "http://localhost:8393"


class PortTakenError(ModelyardError):
    """Somebody else listens there."""


@click.command(
    "playground",
    short_help="Open a page with a form for a model that is served",
    epilog=examples(
        "yard serve --playground", "yard playground", "yard playground --target http://gpu-box:5000 -p 9000"
    ),
)
@click.option("--target", default=TARGET, metavar="URL", help=f"Where the model is served.  [default: {TARGET}]")
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option(
    "-p",
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="Port to listen on; 0 takes a free one.  [default: 0]",
)
@click.option("--no-open", is_flag=True, help="Print the address, and open nothing.")
@click.option("--webhook-host", metavar="HOST", hidden=True)
@click.pass_obj
def command(talk: Talk, /, *, target: str, host: str, port: int, no_open: bool, webhook_host: str | None) -> None:
    """Serve a page with a form made from the schema of the model that is served at URL: by yard serve, or by any
    container made for Cog. What is filled in there is run by that server. Ctrl-C stops the page.
    """
    # What serves it takes longer to load than the rest of the command.
    from modelyard.cli import playground_app

    address = settings.address(target, "--target")
    listening = take(host, port)
    shown = page_address(host, listening.getsockname()[1])
    talk.say(f"Cog playground running at {shown}")
    if not no_open and _has_browser(settings.environment()) and webbrowser.open(shown):
        talk.say("Opened in your browser.")
    playground_app.serve(address, host, listening)


def take(host: str, port: int, *, flag: str = "-p") -> socket.socket:
    """The address of a playground, taken; `flag` chooses another port. Raises PortTakenError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        of_the_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
        other_port = f"choose another with {flag}; 0 takes a free one"
        hint = other_port if of_the_port else "--host is an address of this machine"
        said = f"the playground cannot listen on {host}:{port}: {error.strerror or error}"
        raise PortTakenError(said, hint=hint) from None


def page_address(host: str, port: int) -> str:
    """Where a browser of this machine finds the page."""
    if host in ("0.0.0.0", "::", "127.0.0.1", "::1"):  # noqa: S104 - only compared
        return f"http://localhost:{port}" if ":" not in host else f"http://[::1]:{port}"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _has_browser(environ: Mapping[str, str]) -> bool:
    return sys.stdout.isatty() and (sys.platform == "darwin" or "DISPLAY" in environ or "WAYLAND_DISPLAY" in environ)
