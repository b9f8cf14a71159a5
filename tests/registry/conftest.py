"""The registry that runs for a test. Whatever a test did to it, what it keeps is whole at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from registry_yard import Yard


@pytest.fixture
def yard(tmp_path: Path, sqlite_url: str) -> Iterator[Yard]:
    yard = Yard(folder=tmp_path, database=Path(sqlite_url.removeprefix("sqlite:///")))
    yard.start()
    yield yard
    yard.stop()
    assert yard.findings() == []
