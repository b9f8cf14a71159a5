"""Durations and sizes, read and written."""

from __future__ import annotations

import math

import pytest

from modelyard import amounts


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(0, 0), ("0", 0), ("9s", 9), ("45m", 2700), ("12h", 43200), ("30d", 2592000), ("2W", 1209600), (" 1d 1h ", 90000)],
)
def test_a_duration_is_read(text: object, seconds: int) -> None:
    assert amounts.duration(text).seconds == seconds


def test_for_ever_has_no_end_and_nothing_is_older() -> None:
    assert math.isinf(amounts.duration("Forever").seconds)
    assert amounts.duration("forever").before(10**15) == 0


def test_a_moment_before_now_is_not_before_1970() -> None:
    assert amounts.duration("1s").before(5_000_000) == 4_000_000
    assert amounts.duration("90d").before(5_000_000) == 0


@pytest.mark.parametrize(
    "text", ["", "30", "d", "-1d", "1.5h", "30 days", "1d!", "yesterday", None, 30, True, "9" * 30 + "d", "200000d"]
)
def test_what_is_no_duration_is_refused_with_what_is_wanted(text: object) -> None:
    with pytest.raises(ValueError, match=r"a duration such as|at most a hundred years"):
        amounts.duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), (0, 0), ("500B", 500), ("5kB", 5000), ("1.5GB", 1_500_000_000), ("2 TB", 2 * 10**12), ("8GiB", 2**33)],
)
def test_a_size_is_read(text: object, size: int) -> None:
    assert amounts.size(text).bytes == size


@pytest.mark.parametrize("text", ["", "10", "GB", "-1GB", "1IB", "10 gigabytes", None, 10, False])
def test_what_is_no_size_is_refused_with_what_is_wanted(text: object) -> None:
    with pytest.raises(ValueError, match="a size such as"):
        amounts.size(text)


def test_unlimited_is_more_than_any_disk() -> None:
    assert math.isinf(amounts.size("unlimited").bytes)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (2.5e18, "2500.0 PB")],
)
def test_bytes_are_written_for_people(size: float, text: str) -> None:
    assert amounts.size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 seconds"), (1, "1 second"), (119, "1 minute"), (7200, "2 hours"), (86400, "1 day")]
)
def test_an_age_is_written_in_its_largest_unit(seconds: float, text: str) -> None:
    assert amounts.age_text(seconds) == text
