"""What goes by age, on both databases: the data of predictions, their rows where that is wanted, uploaded files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from house import COUNT, DAY, EXAMPLE, House, cannot_be_changed

from modelyard import amounts, errors, rest
from modelyard.db.base import Database, Statement
from modelyard.predictions import statements
from modelyard.predictions.document import Renderer
from modelyard.predictions.ports import NewPrediction
from modelyard.predictions.record import Prediction, Status
from modelyard.upkeep import Wish

pytestmark = pytest.mark.anyio

WEBHOOK = Statement(
    "webhook",
    "INSERT INTO webhooks (id, prediction_id, event, url, body, created_at, next_attempt_at, delivered_at)"
    " VALUES (:id, :prediction, 'completed', 'http://there', '', 1, 1, :delivered_at)",
)
WEBHOOKS = Statement("webhooks", "SELECT id FROM webhooks ORDER BY id")


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    return House(db, tmp_path)


async def test_what_ended_long_ago_loses_its_data_and_keeps_its_row(house: House) -> None:
    old = await house.prediction()
    house.later(31)
    young = await house.prediction()

    report = await house.keeper().prune(Wish())

    row = await house.row(old)
    assert (row["input"], row["output"], row["logs"], row["data_removed"]) == ("{}", None, None, 1)
    assert row["status"] == "succeeded"
    assert not await house.has_output(old)
    assert (await house.row(young))["data_removed"] == 0
    assert await house.has_output(young)
    assert [item.name for item in report.items] == [f"{old} ada/hello"]
    assert report.items[0].why == "ended 31 days ago; keep_outputs is 30d"
    assert report.bytes > len(b"x")


async def test_a_prediction_without_its_data_says_so(house: House) -> None:
    old = await house.prediction(error="no luck", status=Status.FAILED, metrics=b'{"predict_time":1.5}')
    house.later(31)
    await house.keeper().prune(Wish())

    record = await house.predictions.get(old)
    assert record is not None
    shown = msgspec.json.decode(Renderer(house.outputs, rest.time_text).render(record, "http://yard"))

    assert (shown["data_removed"], shown["output"], shown["logs"], shown["input"]) == (True, None, None, {})
    assert (shown["status"], shown["error"], shown["metrics"]) == ("failed", "no luck", {"predict_time": 1.5})


async def test_a_dry_run_names_the_same_things_and_removes_none(house: House) -> None:
    old = await house.prediction(content=bytes(5000))
    await house.file()
    house.later(31)
    keeper = house.keeper()

    told = await keeper.prune(Wish(dry_run=True))

    assert (await house.row(old))["data_removed"] == 0
    assert await house.has_output(old)
    assert (await keeper.prune(Wish())).items == told.items
    assert {item.kind for item in told.items} == {"outputs", "files"}
    assert not (await keeper.prune(Wish())).items


async def test_what_is_kept_for_ever_stays(house: House) -> None:
    old = await house.prediction()
    file = await house.file()
    house.later(365 * 50)

    report = await house.keeper(keep_outputs="forever", keep_files="forever").prune(Wish())

    assert not report.count
    assert await house.has_output(old)
    assert await house.files.get("a", file.id)


async def test_a_wish_may_name_another_age(house: House) -> None:
    old = await house.prediction()
    house.later(2)

    assert not (await house.keeper().prune(Wish())).count
    report = await house.keeper().prune(Wish(older_than=amounts.duration("1d")))

    assert (await house.row(old))["data_removed"] == 1
    assert report.items[0].why == "ended 2 days ago; asked for: older than 1d"


async def test_rows_go_where_that_is_set_with_what_was_theirs(house: House) -> None:
    old = await house.prediction()
    await house.db.run(WEBHOOK, {"id": "w", "prediction": old, "delivered_at": 5})
    house.later(100)
    young = await house.prediction()
    keeper = house.keeper(keep_predictions="90d")

    told = await keeper.prune(Wish(dry_run=True))
    report = await keeper.prune(Wish())

    assert [(item.kind, item.name) for item in report.items] == [("predictions", f"{old} ada/hello")]
    assert told.items == report.items
    assert await house.predictions.get(old) is None
    assert not await house.has_output(old)
    assert not await house.db.all(WEBHOOKS)
    assert await house.predictions.get(young)


@pytest.mark.parametrize("status", [Status.STARTING, Status.PROCESSING])
async def test_a_prediction_that_has_not_ended_keeps_all_that_it_names(house: House, status: Status) -> None:
    old = await house.prediction()
    file = await house.file()
    address = f"http://yard{house.outputs.path(old, 0, 'out.bin')}"
    asks = {"image": address, "others": [f"http://elsewhere/v1/files/{file.id}"]}
    # JSON may write a slash like this.
    text = msgspec.json.encode(asks).replace(b"/", b"\\/")
    waits = await house.prediction(status=status, content=None, input=text)
    house.later(400)
    keeper = house.keeper(keep_predictions="90d")

    told, report = await keeper.prune(Wish(dry_run=True)), await keeper.prune(Wish())

    assert not told.count
    assert not report.count
    assert await house.has_output(old)
    assert await house.files.get("a", file.id)

    record = await house.predictions.get(waits)
    assert record is not None
    ended = Statement("end", "UPDATE predictions SET status = 'succeeded', completed_at = :at WHERE id = :id")
    await house.db.run(ended, {"id": waits, "at": house.clock() - 91 * DAY * 1_000_000})
    assert (await keeper.prune(Wish())).count == 3


async def test_what_a_prediction_in_memory_names_stays_before_it_has_a_row(house: House) -> None:
    file = await house.file()
    house.later(31)
    text = msgspec.json.encode({"image": f"http://yard/v1/files/{file.id}"})
    new = NewPrediction(account_id="a", model_id="m", model="ada/hello", version_id="1" * 64, input=text)
    live = house.predictions.create(new, wait=True)
    assert not live.inserted

    await house.keeper().prune(Wish())

    assert await house.files.get("a", file.id)
    # Its row is still to be written, and the database is not to close under that.
    async with asyncio.timeout(30):
        while not live.inserted:
            await asyncio.sleep(0.01)


async def test_an_input_that_is_being_looked_for_stays(house: House) -> None:
    file, other = await house.file(), await house.file()
    house.later(31)

    found = await house.inputs.local("a", [f"http://yard/v1/files/{file.id}"])
    told, report = await house.keeper().prune(Wish(dry_run=True)), await house.keeper().prune(Wish())

    assert found
    assert [item.name for item in report.items] == [f"{other.id} in.bin"]
    assert told.items == report.items


async def test_no_prediction_is_ever_created_over_a_file_that_goes(house: House) -> None:
    files = [await house.file() for _ in range(150)]
    house.later(31)
    named, refused = [], []

    async def ask(file_id: str) -> None:
        address = f"http://yard/v1/files/{file_id}"
        found = await house.inputs.local("a", [address])
        if address not in found:
            refused.append(file_id)
            return
        text = msgspec.json.encode({"image": address})
        new = NewPrediction(account_id="a", model_id="m", model="ada/hello", version_id="1" * 64, input=text)
        await house.predictions.create(new, wait=False).committed()
        named.append(found[address])

    async def ask_for_all() -> None:
        for file in reversed(files):
            await ask(file.id)

    pruning = asyncio.create_task(house.keeper().prune(Wish()))
    await asyncio.gather(ask_for_all(), pruning)

    assert len(named) + len(refused) == len(files)
    assert not [path for path in named if not Path(path).is_file()]
    assert pruning.result().totals["files"].count == len(refused)
    assert named
    assert refused


async def test_the_example_on_a_models_page_stays(house: House) -> None:
    model = await house.model()
    old = await house.prediction()
    await house.db.run(EXAMPLE, {"prediction": old, "id": model.id})
    house.later(400)

    assert not (await house.keeper(keep_predictions="90d").prune(Wish())).count
    assert await house.has_output(old)


async def test_what_a_webhook_still_has_to_tell_stays_until_it_is_told(house: House) -> None:
    old = await house.prediction()
    await house.db.run(WEBHOOK, {"id": "w", "prediction": old, "delivered_at": None})
    house.later(31)

    assert not (await house.keeper().prune(Wish())).count
    await house.db.run(Statement("told", "UPDATE webhooks SET delivered_at = 5"), {})
    assert (await house.keeper().prune(Wish())).count == 1
    assert not await house.db.all(WEBHOOKS)


async def test_files_that_came_inside_an_input_go_with_it(house: House) -> None:
    inline, uploaded = await house.file(inline=True), await house.file()
    text = msgspec.json.encode([f"http://yard/v1/files/{file.id}" for file in (inline, uploaded)])
    await house.prediction(input=b'{"images":%b}' % text)
    house.later(1)

    await house.keeper(keep_outputs="1h").prune(Wish())

    assert await house.files.find(inline.id) is None
    assert house.blobs.path(inline.blob_key) is None
    assert await house.files.find(uploaded.id)


async def test_a_journal_goes_with_the_prediction(house: House) -> None:
    old = await house.prediction(journal=True)
    path = house.predictions.journal_path(old)
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(3000))
    house.later(31)

    report = await house.keeper().prune(Wish())

    assert not path.exists()
    assert report.bytes > 3000
    record = await house.predictions.get(old)
    assert record is not None
    assert not house.predictions.read_journal(record).end


async def test_bytes_that_no_row_stands_for_go_after_a_day(house: House) -> None:
    kept, waiting = await house.prediction(), await house.prediction(status=Status.PROCESSING)
    file = await house.file()
    ownerless = [f"outputs/{'0' * 25}1/0/out.bin", f"files/{'0' * 25}2/file.bin"]
    removed = await house.prediction()
    await house.db.run(Statement("removed", "UPDATE predictions SET data_removed = 1 WHERE id = :id"), {"id": removed})
    for key in ownerless:
        await house.blobs.put(key, b"lost")

    keeper = house.keeper()
    assert not (await keeper.prune(Wish(dry_run=True))).count
    house.later(1.1)
    told, report = await keeper.prune(Wish(dry_run=True)), await keeper.prune(Wish())

    assert sorted(item.name for item in report.items) == sorted([*ownerless, f"outputs/{removed}/0/out.bin"])
    assert told.items == report.items
    assert await house.has_output(kept)
    assert await house.has_output(waiting)
    assert house.blobs.path(file.blob_key)
    assert not await house.blobs.list(*ownerless)


async def test_what_cannot_be_removed_is_said_and_the_others_go_on(house: House) -> None:
    stuck, other = await house.prediction(), await house.prediction()
    file = await house.file()
    house.later(31)
    path = house.blobs.path(f"outputs/{stuck}/0/out.bin")
    assert path is not None

    with cannot_be_changed(path.parent):
        report = await house.keeper().prune(Wish())

    assert [(each.kind, each.name) for each in report.failures] == [("outputs", f"{stuck} ada/hello")]
    assert "not permitted" in report.failures[0].problem or "denied" in report.failures[0].problem
    assert (await house.row(stuck))["data_removed"] == 0
    assert (await house.row(other))["data_removed"] == 1
    assert await house.files.find(file.id) is None
    assert (await house.keeper().prune(Wish())).count == 1
    assert (await house.row(stuck))["data_removed"] == 1


async def test_a_clock_that_went_back_removes_nothing(house: House) -> None:
    house.later(100)
    old = await house.prediction()
    await house.file()
    house.later(-200)

    report = await house.keeper(keep_outputs="1h", keep_files="1h", keep_predictions="1h").prune(Wish())

    assert not report.count
    assert await house.has_output(old)


async def test_two_cleanings_at_once_count_nothing_twice(house: House) -> None:
    for _ in range(300):
        await house.prediction(content=None)
    house.later(31)
    keeper = house.keeper()

    reports = await asyncio.gather(keeper.prune(Wish()), keeper.prune(Wish()))

    assert sum(report.count for report in reports) == 300
    assert not [report for report in reports if report.failures]


async def test_many_old_predictions_go_in_batches_between_which_others_write(house: House) -> None:
    count = 10_000
    first = await house.prediction(content=None)
    row = statements.from_row(await house.row(first))
    await _insert_many(house, row, count - 1)
    house.later(31)
    written = 0

    async def write() -> None:
        nonlocal written
        while not pruning.done():
            await house.prediction(content=None)
            written += 1

    pruning = asyncio.create_task(house.keeper().prune(Wish()))
    await write()

    assert pruning.result().totals["outputs"].count == count
    assert len(pruning.result().items) == 1000
    left = await house.db.one(COUNT, removed=0)
    assert left is not None
    assert left["rows"] == written
    assert written > 20


async def _insert_many(house: House, like: Prediction, count: int) -> None:
    from modelyard import ids

    for _ in range(0, count, 1000):
        rows = [statements.values(msgspec.structs.replace(like, id=ids.new_id())) for _ in range(min(1000, count))]
        count -= len(rows)
        await asyncio.gather(*(house.db.run(statements.INSERT, values) for values in rows))


async def test_a_database_that_closes_in_the_middle_is_an_error_that_says_so(house: House) -> None:
    await house.prediction()
    house.later(31)
    await house.db.close()

    with pytest.raises(errors.ModelyardError):
        await house.keeper().prune(Wish())
    await house.db.open()
