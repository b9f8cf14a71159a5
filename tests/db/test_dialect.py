"""Statements as the drivers take them."""

from __future__ import annotations

import pytest

from modelyard.db.base import DatabaseError, Statement
from modelyard.db.dialect import Compiler, storable

TWICE = Statement("twice", "SELECT :a, :b, :a")


def test_sqlite_has_a_placeholder_for_each_use() -> None:
    compiled = Compiler("sqlite")(TWICE)

    assert compiled.sql == "SELECT ?, ?, ?"
    assert compiled.bind({"a": 1, "b": 2}) == (1, 2, 1)


def test_postgres_has_a_number_for_each_parameter() -> None:
    compiled = Compiler("postgres")(TWICE)

    assert compiled.sql == "SELECT $1, $2, $1"
    assert compiled.bind({"a": 1, "b": 2}) == (1, 2)


def test_a_statement_is_compiled_once() -> None:
    compiler = Compiler("sqlite")

    assert compiler(TWICE) is compiler(TWICE)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ':a'",
        "SELECT 'it''s :a'",
        'SELECT 1 AS ":a"',
        "SELECT 1 -- :a",
        "SELECT 1 /* :a\n:b */",
        "SELECT x::text",
        "SELECT '1:a'",
    ],
)
@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_what_is_no_parameter_is_left_alone(dialect: str, sql: str) -> None:
    compiled = Compiler(dialect)(Statement("s", sql))  # type: ignore[arg-type]

    assert compiled.sql == sql
    assert compiled.bind({}) == ()


@pytest.mark.parametrize(
    ("sql", "one_row"),
    [
        ("INSERT INTO t (a, b) VALUES (:a, :b)", True),
        ("  insert into t (a)\n values (:a) on conflict (a) do nothing", True),
        ("INSERT INTO t (a, b) VALUES (CAST(:a AS TEXT), :b) ON CONFLICT (a) DO UPDATE SET b = excluded.b", True),
        ("INSERT INTO t (a) VALUES (:a) RETURNING a", False),
        ("INSERT INTO t (a) VALUES (:a) ON CONFLICT (a) DO NOTHING RETURNING a", False),
        ("INSERT INTO t (a) VALUES (:a), (:b)", False),
        ("INSERT INTO t (a) SELECT :a", False),
        ("UPDATE t SET a = :a WHERE b = :b", False),
        ("DELETE FROM t WHERE a = :a", False),
        ("WITH x AS (SELECT 1) INSERT INTO t (a) SELECT 1 FROM x", False),
    ],
)
def test_a_plain_insert_is_known_to_touch_one_row(sql: str, one_row: bool) -> None:
    assert Compiler("sqlite")(Statement("s", sql)).one_row is one_row


def test_a_statement_may_say_that_it_touches_one_row() -> None:
    assert Compiler("sqlite")(Statement("s", "UPDATE t SET a = 1 WHERE id = :id", by_key=True)).one_row


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(DatabaseError, match="twice: the parameter 'b' is not given"):
        Compiler("sqlite")(TWICE).bind({"a": 1})
    with pytest.raises(DatabaseError, match="one: the parameter 'a' is not given"):
        Compiler("sqlite")(Statement("one", "SELECT :a")).bind({})


def test_what_no_text_can_hold_is_replaced() -> None:
    assert storable(("a\0b", "\ud83c", 1, None)) == ("a\ufffdb", "\ufffd", 1, None)
