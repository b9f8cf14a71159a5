"""How times, sizes, foreign texts and tables are written, and what of a command line is plain."""

from __future__ import annotations

import pytest

from modelyard.cli import predictions, quick, spans, table, words
from modelyard.cli.table import Column, Row
from modelyard.errors import UsageError


def unpainted(text: str, colour: str) -> str:
    return text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "0s"),
        (0.04, "0s"),
        (0.25, "0.2s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.6, "1m"),
        (200, "3m 20s"),
        (660, "11m"),
        (3599.7, "1h"),
        (18600, "5h 10m"),
        (86400 * 2 + 3600 * 5, "2d 5h"),
        (86400 * 400, "400d"),
    ],
)
def test_a_span_is_short_and_in_its_largest_unit(seconds: float, said: str) -> None:
    assert words.span(seconds) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_550, "1.6 kB"), (2**30 * 4, "4.3 GB"), (12.3e12, "12.3 TB")],
)
def test_a_size_is_written_as_the_pages_write_it(number: float, said: str) -> None:
    assert words.size(number) == said


def test_a_foreign_text_moves_no_cursor() -> None:
    assert words.line("one\x1b[2J\x07\rtwo\nthree") == "one\ufffd[2J\ufffd\ufffdtwo"
    assert words.plain("a\tb\nc\x9b") == "a\tb\nc\ufffd"


def test_times_are_said_as_people_say_them() -> None:
    now = words.moment("2026-01-31T12:00:00Z")
    assert spans.moment("--since", None, now) is None
    assert spans.moment("--since", "90m", now) == "2026-01-31T10:30:00+00:00"
    assert spans.moment("--since", "2w", now) == "2026-01-17T12:00:00+00:00"
    assert spans.moment("--since", "2026-01-31T12:00:00+02:00", now) == "2026-01-31T10:00:00+00:00"
    for wrong in ("", "m", "-5m", "5", "5y", "٣d", "now", "9" * 30 + "d"):
        with pytest.raises(UsageError, match="wanted: 30m, 12h, 7d"):
            spans.moment("--since", wrong, now)


def test_only_elastic_columns_give_way_and_the_widest_first() -> None:
    columns = [Column("ID"), Column("NAME", elastic=True), Column("N", right=True), Column("ABOUT", elastic=True)]
    rows = [Row(["x" * 26, "a" * 20, "7", "b" * 30], ["note " + "c" * 60]), Row(["y", "z", "10", ""])]
    wide = table.lines(columns, rows, width=None, paint=unpainted)
    assert wide[1] == f"{'x' * 26}  {'a' * 20}   7  {'b' * 30}"
    narrow = table.lines(columns, rows, width=60, paint=unpainted)
    assert [len(line) <= 60 for line in narrow] == [True] * 4
    assert narrow[1].startswith("x" * 26 + "  ")
    assert narrow[2].endswith("c…")
    assert narrow[3] == f"{'y':26}  {'z':13}  10"
    tiny = table.lines(columns, rows, width=10, paint=unpainted)
    assert tiny[1] == f"{'x' * 26}  {'a' * 7}…   7  {'b' * 7}…"


def test_values_below_each_other_are_folded_at_blanks() -> None:
    lines = table.pairs([("a", "one two three"), ("long", "x" * 30)], width=16, paint=unpainted)
    assert lines == ["a     one two", "      three", "long  " + "x" * 30]


def test_what_is_plain_is_understood_without_the_library() -> None:
    call = quick.parse(predictions.COMMAND, ["-s", "failed", "--status=canceled", "-n", "5", "--json"])
    assert call is not None
    assert call.run is predictions.list_
    assert (call.values["status"], call.values["limit"], call.values["as_json"]) == (("failed", "canceled"), 5, True)
    assert (call.values["model"], call.values["watch_"]) == (None, False)
    shown = quick.parse(predictions.COMMAND, ["show", "x"])
    assert shown is not None
    assert shown.values == {"prediction": "x", "watch_": False, "as_json": False}
    some = quick.parse(predictions.COMMAND, ["cancel", "x", "y"])
    assert some is not None
    assert some.values["predictions"] == ("x", "y")


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "-h",
        "list extra",
        "show",
        "show x y",
        "-n few",
        "-n",
        "-n -5",
        "--status done",
        "--json=1",
        "-njson",
        "--",
        "cancel",
    ],
)
def test_what_is_not_plain_is_left_to_the_library(line: str) -> None:
    assert quick.parse(predictions.COMMAND, line.split()) is None
