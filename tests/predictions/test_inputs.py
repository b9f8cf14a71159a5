"""Addresses of an input whose bytes the yard has: many are asked for together, and it shows in nothing but the time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from modelyard.blobs.disk import DiskBlobs
from modelyard.db.base import Database
from modelyard.files import Files
from modelyard.predictions.inputs import Inputs
from modelyard.predictions.outputs import Outputs

pytestmark = pytest.mark.anyio

ID, ORIGIN = "a" * 26, "https://yard.example"


class FarBlobs(DiskBlobs):
    """A disk that takes a while, as a bucket does: the later something was asked for, the sooner it is told.

    `most`: how many waited for their answer at once, at most.
    """

    most = asked = waiting = 0

    async def place(self, key: str) -> Path | None:
        self.asked += 1
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        for _ in range(100 - self.asked):
            await asyncio.sleep(0)
        self.waiting -= 1
        if key.endswith(".broken"):
            raise OSError(key)
        return await super().place(key)


@pytest.fixture
def blobs(tmp_path: Path) -> FarBlobs:
    return FarBlobs(tmp_path / "blobs", fsync="process")


@pytest.fixture
def outputs(blobs: FarBlobs) -> Outputs:
    return Outputs(blobs, b"a secret")


@pytest.fixture
def files(sqlite_db: Database, blobs: FarBlobs) -> Files:
    return Files(sqlite_db, blobs, lambda: 0)


@pytest.fixture
def own(files: Files, blobs: FarBlobs, outputs: Outputs) -> Inputs:
    return Inputs(files, outputs, blobs)


async def test_addresses_are_asked_for_together_up_to_a_bound_and_told_in_their_order(
    own: Inputs, blobs: FarBlobs, outputs: Outputs
) -> None:
    links = [ORIGIN + outputs.path(ID, number, "o.png") for number in range(40)]
    for number in range(0, 40, 2):
        await blobs.put(outputs.key(ID, number, "o.png"), b"x")

    found = await own.local(
        "account", {"several": [*links, "https://elsewhere.example/x.png", "http"], "one": links[0]}
    )

    assert list(found.items()) == [
        (links[number], str(blobs.path(outputs.key(ID, number, "o.png")))) for number in range(0, 40, 2)
    ]
    # What stands there twice is asked for once.
    assert blobs.asked == 40
    assert 1 < blobs.most < 40


async def test_what_is_raised_is_what_the_first_of_them_says_when_none_is_on_its_way_any_more(
    own: Inputs, blobs: FarBlobs, outputs: Outputs
) -> None:
    names = ["o.png", "first.broken", "second.broken", *(["o.png"] * 40)]
    links = [ORIGIN + outputs.path(ID, number, name) for number, name in enumerate(names)]

    with pytest.raises(OSError, match=r"first\.broken"):
        await own.local("account", links)

    assert blobs.waiting == 0
    assert blobs.asked < len(links)


async def test_an_address_counts_for_its_owner_alone_among_many(own: Inputs, files: Files) -> None:
    mine, theirs = [await files.create(account, b"x", name="x") for account in ("mine", "theirs")]
    links = [f"{ORIGIN}/v1/files/{file.id}" for file in (theirs, mine)]

    assert list(await own.local("mine", links)) == links[1:]
