"""The scenarios of the section values, on our own server and command."""

from __future__ import annotations

from pathlib import Path

import pytest
import scenario_run
import scenario_text
from scenario_server import OURS


@pytest.mark.parametrize("path", scenario_text.section("values"), ids=lambda path: path.stem)
def test_the_scenario_shows_what_it_says(path: Path, tmp_path: Path, home: Path) -> None:
    scenario_run.show(path, OURS, tmp_path, home)
