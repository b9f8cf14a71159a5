"""Fixtures of the API's tests: one server for a module, and a client of its owner."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import server as servers


@pytest.fixture(scope="module")
def server(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """The doors, with models to run and two accounts."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(sqlite_template, folder / "yard.db")
    with servers.running(folder) as running:
        yield running


@pytest.fixture
def http(server: servers.Server) -> Iterator[httpx.Client]:
    """A client with the owner's token."""
    with server.client() as client:
        yield client
