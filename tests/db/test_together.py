"""Many executions of one statement, said as one."""

from __future__ import annotations

import sqlite3

import pytest

from modelyard.db import together
from modelyard.db.base import Statement
from modelyard.db.dialect import Compiler

INSERT = "INSERT INTO t (id, a) VALUES (:id, lower(:a))"
UPDATE = "UPDATE t SET a = :a WHERE id = :id AND (a = :was OR a IS NULL)"


def sql_for(sql: str, count: int, *, by_key: bool = False) -> str:
    compiled = Compiler("sqlite")(Statement("s", sql, by_key=by_key))
    assert compiled.together is not None
    return compiled.together(count)


@pytest.fixture
def table() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT) STRICT")
    return connection


def test_rows_are_inserted_with_what_the_statement_does_to_each(table: sqlite3.Connection) -> None:
    cursor = table.execute(sql_for(INSERT, 3), [1, "A", 2, "B", 3, "C"])
    assert cursor.rowcount == 3
    assert table.execute("SELECT id, a FROM t ORDER BY id").fetchall() == [(1, "a"), (2, "b"), (3, "c")]


def test_a_conflict_clause_holds_for_each_row(table: sqlite3.Connection) -> None:
    table.execute("INSERT INTO t VALUES (1, 'kept')")
    cursor = table.execute(sql_for(f"{INSERT} ON CONFLICT (id) DO NOTHING", 2), [1, "new", 2, "b"])
    assert cursor.rowcount == 1
    assert table.execute("SELECT id, a FROM t ORDER BY id").fetchall() == [(1, "kept"), (2, "b")]


def test_an_update_by_key_touches_the_rows_whose_guard_holds(table: sqlite3.Connection) -> None:
    table.executemany("INSERT INTO t VALUES (?, ?)", [(1, "x"), (2, "y"), (3, None)])
    cursor = table.execute(sql_for(UPDATE, 3, by_key=True), ["new", 1, "x", "new", 2, "other", "new", 3, "x"])
    assert cursor.rowcount == 2
    assert table.execute("SELECT a FROM t ORDER BY id").fetchall() == [("new",), ("y",), ("new",)]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE t SET a = (SELECT max(a) FROM t) WHERE id = :id",
        "UPDATE t SET a = :a WHERE id = :id RETURNING a",
        "UPDATE t SET a = :a FROM u WHERE t.id = :id",
        "DELETE FROM t WHERE id = :id",
        "UPDATE t SET a = 1 WHERE id = 1",
    ],
)
def test_what_cannot_be_said_at_once_is_left_alone(sql: str) -> None:
    assert Compiler("sqlite")(Statement("s", sql, by_key=True)).together is None


def test_only_an_insert_without_a_conflict_clause_is_whole_or_fails() -> None:
    compiler = Compiler("sqlite")
    assert compiler(Statement("s", INSERT)).whole
    assert not compiler(Statement("s", f"{INSERT} ON CONFLICT (id) DO NOTHING")).whole
    assert not compiler(Statement("s", UPDATE, by_key=True)).whole


def test_postgres_has_ways_of_its_own() -> None:
    assert Compiler("postgres")(Statement("s", INSERT)).together is None


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65, 200])
def test_rows_are_cut_into_few_powers_of_two(count: int) -> None:
    rows = [(number, str(number)) for number in range(count)]
    pieces = list(together.chunks(rows))
    assert [value for _, values in pieces for value in values] == [value for row in rows for value in row]
    assert all(size == 2 ** (size.bit_length() - 1) <= together.MOST_ROWS for size, _ in pieces)
    assert (len(pieces) == 1) is together.is_one_chunk(count)
    assert len(pieces) <= count // together.MOST_ROWS + 6
