"""Fixtures of the compatibility tests: unmodified clients against the doors."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import replicate

# The server of the API's tests serves these too.
sys.path.append(str(Path(__file__).parents[1] / "api"))
import server as servers


@pytest.fixture(scope="module")
def server(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """The doors, with models to run."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(sqlite_template, folder / "yard.db")
    with servers.running(folder) as running:
        yield running


@pytest.fixture(params=["", "/v1"])
def client(server: servers.Server, request: pytest.FixtureRequest) -> replicate.Client:
    """The official client as it is installed, with either of the addresses that people give it."""
    return replicate.Client(api_token=server.token, base_url=server.url + str(request.param))
