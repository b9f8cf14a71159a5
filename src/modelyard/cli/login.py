"""`yard login`: remember a yard's address and a token, after asking the yard whether it knows the token."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

import click

from modelyard import settings
from modelyard.cli import client
from modelyard.cli import talk as results
from modelyard.cli.examples import examples
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError


@click.command(
    "login",
    short_help="Remember a yard's address and your token",
    epilog=examples(
        "yard login",
        "yard login https://yard.example.org --token r8_…",
        "echo $TOKEN | yard login --token-stdin",
        "yard login --json < token.txt --token-stdin",
    ),
)
@click.argument("url", required=False)
@click.option("--token", metavar="TOKEN", help="The token; others on this machine may see a command line.")
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input.")
@click.option("--json", "as_json", is_flag=True, help="Print the account as JSON.")
@click.pass_obj
def command(talk: Talk, url: str | None, token: str | None, token_stdin: bool, as_json: bool) -> None:
    """Remember the yard at URL and a token for it. Without URL: the one of the last login, else http://127.0.0.1:9273.

    The token is asked for unless it is given, and the yard is asked whether it knows it. Both are kept in
    login.json in your configuration folder, readable by you alone. MODELYARD_URL and MODELYARD_TOKEN win over it.
    """
    if token and token_stdin:
        raise UsageError("--token and --token-stdin were both given; one of them is wanted")
    environ = settings.environment()
    address = _address(url) if url else client.find_login(environ).url
    login = client.Login(url=address, token=_clean(token or _asked(address, token_stdin)))
    account = client.call(login, "GET", "/v1/account")
    path = client.login_path(environ)
    _store(path, login)
    talk.say(f"Logged in to {address} as {account.get('username')} (kept in {path})")
    if as_json:
        results.result_json({"url": address, "account": account})


def _address(url: str) -> str:
    try:
        return str(settings.parse("public_url", url, "URL"))
    except UsageError as error:
        hint = f"http://{url}" if "://" not in url else None
        raise UsageError(error.detail, hint=hint) from None


def _asked(address: str, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline()
    if not sys.stdin.isatty():
        raise UsageError("no token was given, and there is no terminal to ask on", hint="use --token-stdin or --token")
    return str(click.prompt(f"Token for {address}", hide_input=True, err=True))


def _clean(token: str) -> str:
    token = token.strip()
    if not token or not token.isascii() or any(character.isspace() for character in token):
        raise UsageError("the token is empty or holds blanks; wanted: r8_ followed by 37 letters and digits")
    return token


def _store(path: Path, login: client.Login) -> None:
    """Written beside and renamed, so that a killed login never leaves half a file; 0600 from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"url": login.url, "token": login.token}, file)
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
