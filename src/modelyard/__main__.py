"""`python -m modelyard`: the same as the command `yard`."""

from __future__ import annotations

from modelyard.cli.main import main

main()
