"""What can be run with `python -m cog.command.…`."""
