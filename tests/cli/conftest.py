"""Fixtures: the command with a home of its own, and a yard for those that need one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yard_process
from yard_process import Run, Server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of whoever runs the command."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def yard(home: Path, tmp_path: Path) -> Run:
    """`yard(*arguments, cwd=…, stdin=…, **variables)` runs the command in the test's folder."""
    return partial(yard_process.run, home=home, cwd=tmp_path)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One yard for all tests of commands."""
    with yard_process.up(tmp_path_factory.mktemp("yard")) as server:
        yield server
