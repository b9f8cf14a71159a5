"""Fixtures of the scenarios: a home for commands, and the real Cog where the package index has it."""

from __future__ import annotations

from pathlib import Path

import pytest
import scenario_server
from scenario_server import Target


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of whoever runs the commands: environments of models are made in it once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def real_cog(testrun_uid: str) -> Target:
    """The real Cog."""
    try:
        return scenario_server.real_cog(testrun_uid)
    except scenario_server.NotInstallable as error:
        pytest.skip(f"the scenarios are not shown on the real Cog: {error}")
