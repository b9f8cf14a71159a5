"""`yard completion`: what makes a shell complete this command's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from modelyard.cli.examples import examples
from modelyard.cli.talk import result

_VARIABLE = "_YARD_COMPLETE"


@click.command(
    "completion",
    short_help="Print what makes a shell complete this command",
    epilog=examples(
        'eval "$(yard completion bash)"    # in ~/.bashrc',
        'eval "$(yard completion zsh)"     # in ~/.zshrc',
        "yard completion fish > ~/.config/fish/completions/yard.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a script that makes SHELL (bash, zsh or fish) complete commands, options and names of models."""
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - one of three that the library has
    # The class asks bash for its version when it is told to, and this is not the moment for that.
    script = kind(click.Command("yard"), {}, "yard", _VARIABLE)
    result(script.source_template % script.source_vars())
