"""`yard open`: a link that signs a browser in, once."""

from __future__ import annotations

import re
import sys
import webbrowser
from urllib.parse import quote

import click

from modelyard import settings
from modelyard.cli import client
from modelyard.cli import talk as results
from modelyard.cli.examples import examples
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError

_PAGE = re.compile(r"/?[\w.-]+(?:/[\w.-]+){0,2}/?")


@click.command(
    "open",
    short_help="Open the yard in a browser, signed in",
    epilog=examples("yard open", "yard open yard/photo", "yard open --print", "yard open --json"),
)
@click.argument("page", required=False)
@click.option("--print", "only_print", is_flag=True, help="Print the link, and open nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts; opens nothing.")
@click.pass_obj
def command(talk: Talk, page: str | None, only_print: bool, as_json: bool) -> None:
    """Open the yard that you are logged in to, in a browser that it knows from then on. PAGE: a model, or a page.

    The link signs one browser in as you, once, within fifteen minutes; whoever has it may use it, so send it to
    nobody. It is printed too, for a browser on another machine.
    """
    environ = settings.environment()
    login = client.required_login(environ)
    if page is not None and not _PAGE.fullmatch(page):
        raise UsageError(f"{page!r} is no page of a yard", hint="such as yard/photo, predictions, yard")
    made = client.call(login, "POST", "/v1/login-links")
    address = str(made["url"])
    if page:
        address += "?next=" + quote("/" + page.strip("/"), safe="/")
    if as_json:
        results.result_json({"url": address, "expires_in_seconds": made["expires_in_seconds"]})
        return
    results.result(address)
    seen = sys.stdout.isatty() and (sys.platform == "darwin" or "DISPLAY" in environ or "WAYLAND_DISPLAY" in environ)
    if not only_print and seen and webbrowser.open(address):
        talk.say("Opened in your browser.")
    else:
        talk.say(f"Open it within {made['expires_in_seconds'] // 60} minutes; it signs one browser in, once.")
