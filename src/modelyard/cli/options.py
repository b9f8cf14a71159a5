"""The settings of a yard as options of a command, made from their one list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from modelyard import settings

# Secrets are not on the command line, where others on the machine could read them.
_FLAGS = [name for name in settings.names() if not settings.is_secret(name)]


def with_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an option for every setting; what was not given arrives as None."""
    for name in reversed(_FLAGS):
        function = click.option(settings.flag(name), name, metavar=settings.form(name), help=_help(name))(function)
    return function


def _help(name: str) -> str:
    text = settings.about(name)
    default = settings.default(name)
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    said = "" if default is None else f"  [default: {shown}]"
    return f"{text if '://' in text else text[0].upper() + text[1:]}.{said}"
