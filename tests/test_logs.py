"""The log's two forms: lines for people and objects for programs."""

from __future__ import annotations

import json
import logging
import re
import sys

from modelyard import logs


def record(message: str, *arguments: object, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    logger = logging.getLogger("modelyard.room")
    made = logger.makeRecord(logger.name, level, "room.py", 1, message, arguments, None, extra=extra)
    made.created, made.msecs = 1_700_000_000.25, 250.0
    return made


def test_a_line_of_json_has_time_level_logger_message_and_ids() -> None:
    line = logs.Json().format(record("%s of %s", 1, 2, prediction_id="p1", instance_id="i1", model="yard/hello"))
    assert json.loads(line) == {
        "ts": "2023-11-14T22:13:20.250000Z",
        "level": "info",
        "logger": "modelyard.room",
        "message": "1 of 2",
        "prediction_id": "p1",
        "instance_id": "i1",
        "model": "yard/hello",
    }


def test_whatever_a_message_holds_stays_one_line_of_json() -> None:
    said = 'a\n{"level": "error"}\r\x00\x1b[31m\u2028é\ud800"'
    line = logs.Json().format(record("%s", said))
    assert len(line.splitlines()) == 1
    assert line.isascii()
    assert json.loads(line)["message"] == said


def test_a_traceback_is_part_of_its_line_of_json() -> None:
    made = record("failed", level=logging.ERROR)
    try:
        raise ValueError("wrong")
    except ValueError:
        made.exc_info = sys.exc_info()
    line = logs.Json().format(made)
    assert len(line.splitlines()) == 1
    assert "ValueError: wrong" in json.loads(line)["error"]


def test_a_line_of_text_ends_with_the_ids() -> None:
    line = logs.Text().format(record("it ended", level=logging.WARNING, prediction_id="p1", instance_id="i1"))
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,250 WARNING modelyard.room: it ended prediction_id=p1 instance_id=i1", line
    )


def test_a_message_cannot_make_a_line_of_text_look_like_two_or_move_a_cursor() -> None:
    said = "it said\n2023-11-14 22:13:20,250 ERROR modelyard.room: forged\r\x1b[2Kgone\x9b\u2028"
    first, second = logs.Text().format(record("%s", said)).split("\n")
    assert first.endswith("it said")
    assert second == r"    2023-11-14 22:13:20,250 ERROR modelyard.room: forged\r\x1b[2Kgone\x9b\u2028"


def test_an_error_cannot_make_a_line_of_text_look_like_two() -> None:
    made = record("failed", level=logging.ERROR)
    try:
        raise ValueError("wrong\n2023-11-14 22:13:20,250 ERROR modelyard.room: forged")
    except ValueError:
        made.exc_info = sys.exc_info()
    _, *below = logs.Text().format(made).split("\n")
    assert "    ValueError: wrong" in below
    assert all(line.startswith("    ") for line in below)


def test_an_address_cannot_make_a_line_of_text_look_like_two() -> None:
    line = logs.Text().format(record("answered", path="/a\n2023-11-14 ERROR forged", status=500))
    assert len(line.splitlines()) == 1
