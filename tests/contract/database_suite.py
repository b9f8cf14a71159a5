"""What every database adapter promises; a subclass says which one is tested, by its fixture `database`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from modelyard import errors
from modelyard.db.base import Database, DatabaseClosed, DatabaseError, Statement, Tx, UniqueViolation

PUT = Statement("put", "INSERT INTO meta (key, value) VALUES (:key, :value)")
PUT_ONCE = Statement("put_once", "INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO NOTHING")
PUT_NEW = Statement(
    "put_new",
    "INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
)
PUT_RETURNING = Statement("put_returning", "INSERT INTO meta (key, value) VALUES (:key, :value) RETURNING key, value")
GET = Statement("get", "SELECT key, value FROM meta WHERE key = :key")
LIST = Statement("list", "SELECT key, value FROM meta ORDER BY key")
COUNT = Statement("count", "SELECT COUNT(*) AS number FROM meta")
CHANGE = Statement("change", "UPDATE meta SET value = :value WHERE key = :key", by_key=True)
CHANGE_ALL = Statement("change_all", "UPDATE meta SET value = :value")
DELETE = Statement("delete", "DELETE FROM meta WHERE key = :key")
BEAT = Statement(
    "beat",
    "INSERT INTO nodes (id, address, epoch, started_at, heartbeat_at) VALUES (:id, :address, :epoch, :at, :at)",
)
GET_NODE = Statement("get_node", "SELECT * FROM nodes WHERE id = :id")
WRONG_TABLE = Statement("wrong_table", "SELECT * FROM nothing_of_that_name")

Make = Callable[[], Database]


async def put_many(database: Database, keys: list[str]) -> list[int | BaseException]:
    """Handed in together, so that they share a commit."""
    return await asyncio.gather(
        *(database.run(PUT, {"key": key, "value": key.upper()}) for key in keys), return_exceptions=True
    )


class DatabaseSuite:
    pytestmark = pytest.mark.anyio

    async def test_what_is_written_is_read(self, database: Database) -> None:
        assert await database.run(PUT, {"key": "a", "value": "1"}) == 1

        assert await database.one(GET, key="a") == {"key": "a", "value": "1"}
        assert await database.all(LIST) == [{"key": "a", "value": "1"}]

    async def test_nothing_found_is_none_and_no_rows(self, database: Database) -> None:
        assert await database.one(GET, key="a") is None
        assert await database.all(LIST) == []

    async def test_a_read_sees_every_write_that_was_awaited(self, database: Database) -> None:
        for number in range(50):
            await database.run(PUT, {"key": str(number), "value": ""})
            rows = await asyncio.gather(*(database.one(COUNT) for _ in range(6)))
            assert [row and row["number"] for row in rows] == [number + 1] * 6

    async def test_values_come_back_as_they_went_in(self, database: Database) -> None:
        text = "zwölf 🎈 'quotes' \"double\" %s $1 :key \\ \n\t"
        big = 2**62

        await database.run(BEAT, {"id": text, "address": "", "epoch": big, "at": -1})

        assert await database.one(GET_NODE, id=text) == {
            "id": text, "address": "", "epoch": big, "started_at": -1, "heartbeat_at": -1,
        }  # fmt: skip

    async def test_a_boolean_is_kept_as_a_number(self, database: Database) -> None:
        await database.run(BEAT, {"id": "a", "address": "", "epoch": True, "at": False})

        row = await database.one(GET_NODE, id="a")

        assert row is not None
        assert (row["epoch"], row["started_at"]) == (1, 0)
        assert type(row["epoch"]) is int

    async def test_half_a_surrogate_pair_is_replaced(self, database: Database) -> None:
        await database.run(PUT, {"key": "a", "value": "x\ud800y"})
        await put_many(database, ["b", "c\udfff"])

        assert await database.one(GET, key="a") == {"key": "a", "value": "x\ufffdy"}
        assert [row["key"] for row in await database.all(LIST)] == ["a", "b", "c\ufffd"]

    async def test_a_text_with_a_nul_is_kept(self, database: Database) -> None:
        await asyncio.gather(
            database.run(PUT, {"key": "a", "value": "x\0y"}), database.run(PUT, {"key": "b", "value": "z"})
        )

        row = await database.one(GET, key="a")

        assert row is not None
        assert row["value"] in ("x\0y", "x\ufffdy")
        assert await database.one(GET, key="b") is not None

    async def test_text_sorts_by_its_bytes(self, database: Database) -> None:
        await put_many(database, ["b", "B", "a", "_", "ä", "1", "~"])

        assert [row["key"] for row in await database.all(LIST)] == ["1", "B", "_", "a", "b", "~", "ä"]

    async def test_whole_sums_are_integers(self, database: Database) -> None:
        for name in "ab":
            await database.run(BEAT, {"id": name, "address": "", "epoch": 2**40, "at": 1})

        row = await database.one(Statement("sum", "SELECT SUM(epoch) AS total, AVG(started_at) AS middle FROM nodes"))

        assert row == {"total": 2**41, "middle": 1.0}
        assert type(row["total"]) is int

    async def test_a_write_tells_how_many_rows_it_touched(self, database: Database) -> None:
        await put_many(database, ["a", "b", "c"])

        assert await database.run(CHANGE_ALL, {"value": "new"}) == 3
        assert await database.run(CHANGE, {"key": "a", "value": "newer"}) == 1
        assert await database.run(CHANGE, {"key": "absent", "value": ""}) == 0
        assert await database.run(DELETE, {"key": "a"}) == 1

    async def test_each_of_a_group_gets_its_own_count(self, database: Database) -> None:
        await put_many(database, ["a", "b"])

        changed = await asyncio.gather(
            *(database.run(CHANGE, {"key": key, "value": "x"}) for key in ("a", "absent", "b", "also absent"))
        )
        put = await asyncio.gather(*(database.run(PUT_ONCE, {"key": key, "value": "y"}) for key in ("a", "c", "c")))
        # Two rows for one and none for another are as many as there are statements.
        deleted = await asyncio.gather(
            database.run(Statement("delete_two", "DELETE FROM meta WHERE key IN ('a', 'b', :key)"), {"key": "-"}),
            database.run(Statement("delete_two", "DELETE FROM meta WHERE key IN ('a', 'b', :key)"), {"key": "-"}),
        )

        assert changed == [1, 0, 1, 0]
        assert put == [0, 1, 0]
        assert deleted == [2, 0]

    async def test_each_of_a_group_gets_its_own_error(self, database: Database) -> None:
        outcomes = await put_many(database, ["a", "b", "a", "c", "b"])

        assert [outcome if isinstance(outcome, int) else type(outcome) for outcome in outcomes] == [
            1, 1, UniqueViolation, 1, UniqueViolation,
        ]  # fmt: skip
        assert [row["key"] for row in await database.all(LIST)] == ["a", "b", "c"]

    async def test_writes_are_executed_in_the_order_in_which_they_were_handed_in(self, database: Database) -> None:
        pending = [database.run_nowait(PUT_NEW, {"key": "a", "value": str(number)}) for number in range(200)]
        pending.append(database.run_nowait(CHANGE, {"key": "a", "value": "last"}))

        assert await asyncio.gather(*pending) == [1] * 201
        assert await database.one(GET, key="a") == {"key": "a", "value": "last"}

    async def test_a_write_that_nobody_awaits_is_done_too(self, database: Database) -> None:
        database.run_nowait(PUT, {"key": "a", "value": "1"})

        await database.run(PUT, {"key": "b", "value": "2"})

        assert await database.one(COUNT) == {"number": 2}

    async def test_a_caller_that_is_cancelled_does_not_take_its_write_back(self, database: Database) -> None:
        writing = asyncio.create_task(database.run(PUT, {"key": "a", "value": "1"}))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait([writing])

        await database.run(PUT, {"key": "b", "value": "2"})

        assert [row["key"] for row in await database.all(LIST)] == ["a", "b"]

    async def test_a_key_that_exists_is_a_conflict_that_names_the_table(self, database: Database) -> None:
        await database.run(PUT, {"key": "a", "value": "1"})

        with pytest.raises(UniqueViolation, match="put: there is a row with this key already") as caught:
            await database.run(PUT, {"key": "a", "value": "2"})

        assert caught.value.table == "meta"
        assert isinstance(caught.value, errors.Conflict)

    async def test_a_statement_the_database_refuses_is_named(self, database: Database) -> None:
        with pytest.raises(DatabaseError, match=r"wrong_table: .*nothing_of_that_name"):
            await database.all(WRONG_TABLE)
        with pytest.raises(DatabaseError, match="wrong_table: "):
            await database.run(WRONG_TABLE)

        assert await database.all(LIST) == []

    @pytest.mark.parametrize("value", [None, b"bytes", ["list"], object()])
    async def test_a_value_of_the_wrong_kind_is_refused(self, database: Database, value: object) -> None:
        alone = {"key": "a", "value": value}

        with pytest.raises(DatabaseError, match="put: "):
            await database.run(PUT, alone)
        outcomes = await asyncio.gather(
            database.run(PUT, alone), database.run(PUT, {"key": "b", "value": "fine"}), return_exceptions=True
        )

        assert isinstance(outcomes[0], DatabaseError)
        assert outcomes[1] == 1

    async def test_a_number_beyond_64_bits_is_refused(self, database: Database) -> None:
        with pytest.raises(DatabaseError, match="beat: "):
            await database.run(BEAT, {"id": "a", "address": "", "epoch": 2**63, "at": 0})

    async def test_a_missing_parameter_is_named(self, database: Database) -> None:
        with pytest.raises(DatabaseError, match="put: the parameter 'value' is not given"):
            await database.run(PUT, {"key": "a"})
        with pytest.raises(DatabaseError, match="get: the parameter 'key' is not given"):
            await database.one(GET)

    async def test_further_parameters_do_no_harm(self, database: Database) -> None:
        assert await database.run(PUT, {"key": "a", "value": "1", "other": object()}) == 1

    async def test_a_transaction_is_done_whole(self, database: Database) -> None:
        def move(tx: Tx) -> str:
            assert tx.run(PUT, {"key": "a", "value": "1"}) == 1
            row = tx.one(GET, key="a")
            assert row is not None
            assert tx.run(CHANGE, {"key": "a", "value": row["value"] + "2"}) == 1
            assert tx.one(GET, key="absent") is None
            return str(tx.all(LIST)[0]["value"])

        assert await database.transaction(move) == "12"
        assert await database.one(GET, key="a") == {"key": "a", "value": "12"}

    async def test_an_exception_undoes_its_transaction_alone(self, database: Database) -> None:
        def fail(tx: Tx) -> None:
            tx.run(PUT, {"key": "undone", "value": ""})
            raise ZeroDivisionError("mine")

        before, failed, after = await asyncio.gather(
            database.run(PUT, {"key": "a", "value": ""}),
            database.transaction(fail),
            database.run(PUT, {"key": "b", "value": ""}),
            return_exceptions=True,
        )

        assert (before, after) == (1, 1)
        assert isinstance(failed, ZeroDivisionError)
        assert [row["key"] for row in await database.all(LIST)] == ["a", "b"]

    async def test_work_may_catch_a_statement_that_fails_and_go_on(self, database: Database) -> None:
        def work(tx: Tx) -> str:
            tx.run(PUT, {"key": "a", "value": "1"})
            with pytest.raises(UniqueViolation):
                tx.run(PUT, {"key": "a", "value": "2"})
            with pytest.raises(DatabaseError):
                tx.all(WRONG_TABLE)
            tx.run(PUT, {"key": "b", "value": "3"})
            return "done"

        assert await database.transaction(work) == "done"
        assert [row["value"] for row in await database.all(LIST)] == ["1", "3"]

    async def test_a_transaction_stands_between_the_writes_around_it(self, database: Database) -> None:
        seen: list[list[str]] = []

        await asyncio.gather(
            database.run(PUT, {"key": "a", "value": ""}),
            database.transaction(lambda tx: seen.append([row["key"] for row in tx.all(LIST)])),
            database.run(PUT, {"key": "b", "value": ""}),
            database.transaction(lambda tx: seen.append([row["key"] for row in tx.all(LIST)])),
        )

        assert seen == [["a"], ["a", "b"]]

    async def test_a_transaction_reads_what_an_insert_returns(self, database: Database) -> None:
        row = await database.transaction(lambda tx: tx.one(PUT_RETURNING, key="a", value="1"))

        assert row == {"key": "a", "value": "1"}
        assert await database.one(COUNT) == {"number": 1}

    async def test_work_runs_on_the_writers_thread(self, database: Database) -> None:
        thread = await database.transaction(lambda tx: threading.current_thread())

        assert thread is not threading.current_thread()

    async def test_a_large_group_is_done_whole(self, database: Database) -> None:
        outcomes = await put_many(database, [f"{number:05}" for number in range(5_000)])

        assert outcomes == [1] * 5_000
        assert await database.one(COUNT) == {"number": 5_000}

    async def test_a_statement_may_hold_colons_that_are_no_parameters(self, database: Database) -> None:
        tricky = Statement(
            "tricky",
            """SELECT ':no' AS one, CAST(:yes AS TEXT) AS "two:no", '%s $1 ?' AS three -- :no 'either
            /* :neither */ WHERE 'it''s :no' <> CAST(:yes AS TEXT)""",
        )

        assert await database.one(tricky, yes="y") == {"one": ":no", "two:no": "y", "three": "%s $1 ?"}

    async def test_a_page_by_keys_reads_the_same_everywhere(self, database: Database) -> None:
        for number in range(6):
            await database.run(BEAT, {"id": f"n{number}", "address": "", "epoch": number // 2, "at": 0})
        page = Statement(
            "page", "SELECT id FROM nodes WHERE (epoch, id) < (:epoch, :id) ORDER BY epoch DESC, id DESC LIMIT :n"
        )

        rows = await database.all(page, epoch=2, id="n4", n=3)

        assert [row["id"] for row in rows] == ["n3", "n2", "n1"]

    async def test_commits_and_the_writes_in_them_are_counted(self, database: Database) -> None:
        before, written = sum(database.pace.commits.counts), database.pace.writes

        await put_many(database, [f"k{number}" for number in range(100)])
        await database.transaction(lambda tx: tx.run(PUT, {"key": "t", "value": ""}))

        # Counted on the writer's thread, before anybody is told.
        assert database.pace.writes - written == 101
        assert 2 <= sum(database.pace.commits.counts) - before <= 101
        assert database.pace.commits.total > 0
        assert database.pace.waiting == 0

    async def test_who_listens_is_told(self, database: Database) -> None:
        told: asyncio.Queue[str] = asyncio.Queue()
        unlisten = database.listen("topic", told.put_nowait)
        database.listen("other", lambda payload: told.put_nowait("wrong"))

        await database.notify("topic", "some id")
        await database.notify("topic")

        assert await asyncio.wait_for(told.get(), 10) == "some id"
        assert await asyncio.wait_for(told.get(), 10) == ""
        unlisten()
        unlisten()
        await database.notify("topic", "nobody hears")
        await database.notify("other")
        assert await asyncio.wait_for(told.get(), 10) == "wrong"

    async def test_a_listener_that_fails_keeps_the_news_from_nobody(
        self, database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        told: asyncio.Queue[str] = asyncio.Queue()
        database.listen("topic", lambda payload: [][0])
        database.listen("topic", told.put_nowait)

        await database.notify("topic", "first")
        await database.notify("topic", "second")

        assert await asyncio.wait_for(told.get(), 10) == "first"
        assert await asyncio.wait_for(told.get(), 10) == "second"
        assert "a listener of topic failed" in caplog.text

    async def test_closing_finishes_what_was_handed_in(self, make: Make) -> None:
        first = make()
        await first.open()
        pending = [first.run_nowait(PUT, {"key": str(number), "value": ""}) for number in range(500)]

        await first.close()

        assert await asyncio.gather(*pending) == [1] * 500
        second = make()
        await second.open()
        assert await second.one(COUNT) == {"number": 500}
        await second.close()

    async def test_a_closed_database_says_so(self, make: Make) -> None:
        database = make()
        with pytest.raises(DatabaseClosed):
            await database.one(COUNT)
        await database.open()
        await database.close()
        await database.close()

        with pytest.raises(DatabaseClosed):
            await database.one(COUNT)
        with pytest.raises(DatabaseClosed):
            await database.run(PUT, {"key": "a", "value": ""})
        with pytest.raises(DatabaseClosed):
            await database.transaction(lambda tx: None)

    async def test_reads_beside_many_writes_go_on(self, database: Database) -> None:
        async def write(task: int) -> None:
            for number in range(100):
                await database.run(PUT, {"key": f"{task}-{number}", "value": ""})

        async def read() -> None:
            seen = 0
            while seen < 800:
                row = await database.one(COUNT)
                assert row is not None
                assert row["number"] >= seen
                seen = row["number"]

        await asyncio.gather(read(), read(), *(write(task) for task in range(8)))

    async def test_who_asked_to_be_called_is_called_with_the_count_or_the_error(self, database: Database) -> None:
        told: list[tuple[int, BaseException | None]] = []
        database.run_then(PUT, {"key": "a", "value": "1"}, lambda count, error: told.append((count, error)))
        database.run_then(PUT, {"key": "a", "value": "2"}, lambda count, error: told.append((count, error)))
        database.run_then(CHANGE, {"key": "none", "value": "3"}, lambda count, error: told.append((count, error)))
        await database.run(PUT, {"key": "b", "value": "4"})
        assert [count for count, _ in told] == [1, 0, 0]
        assert isinstance(told[1][1], UniqueViolation)
        assert told[0][1] is told[2][1] is None
