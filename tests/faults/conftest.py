"""A yard for each test, on either database where that matters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import small_disks

from tests.faults.yard import Yard


@pytest.fixture
def make_yard(tmp_path: Path) -> Iterator[Callable[..., Yard]]:
    """Makes yards that leave nothing behind."""
    made: list[Yard] = []

    def make(name: str = "yard", **options: object) -> Yard:
        folder = tmp_path / name
        folder.mkdir()
        yard = Yard(folder, **options)  # type: ignore[arg-type]
        made.append(yard)
        return yard

    yield make
    for yard in made:
        yard.end()


@pytest.fixture
def yard(make_yard: Callable[..., Yard]) -> Yard:
    """A running yard on SQLite."""
    return make_yard().start()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Yard]:
    """A running yard on a disk of 64 MiB."""
    yard = Yard(tmp_path)
    with small_disks.mounted(yard.data, "64m"):
        try:
            yield yard.start()
        finally:
            yard.end()
