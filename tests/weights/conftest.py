"""Fixtures: one yard, whose registry holds the weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yard_process
from yard_process import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One yard for all tests of weights."""
    with yard_process.up(tmp_path_factory.mktemp("yard")) as server:
        yield server
