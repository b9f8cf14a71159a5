"""The scenarios of the section values that need only the server, on the real Cog."""

from __future__ import annotations

from pathlib import Path

import pytest
import scenario_run
import scenario_table
from scenario_server import Target


@pytest.mark.parametrize("path", scenario_table.shared("values"), ids=lambda path: path.stem)
def test_the_real_cog_shows_the_same_or_differs_as_it_is_told(
    path: Path, tmp_path: Path, home: Path, real_cog: Target
) -> None:
    scenario_run.show(path, real_cog, tmp_path, home)
