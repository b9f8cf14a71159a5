"""What a model's variables say of its times."""

from __future__ import annotations

import pytest

from modelyard import timeouts
from modelyard.timeouts import Timeouts


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1", 1.0), ("90", 90.0), ("1.5", 1.5), ("0", None), ("0.0", None), ("000", None), ("999999999", 999999999.0)],
)
def test_seconds_are_a_limit_and_nought_is_none(text: str, seconds: float | None) -> None:
    assert timeouts.is_seconds(text)
    assert timeouts.read({"COG_SETUP_TIMEOUT": text}) == Timeouts(setup_seconds=seconds)
    assert timeouts.read({"MODELYARD_RUN_TIMEOUT": text}) == Timeouts(run_seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", " ", "-1", "soon", "1s", "1e3", "1_000", "inf", "nan", "1.", ".5", "9" * 10, "1\n", "٣"]
)
def test_what_is_no_number_of_seconds_is_no_limit(text: str) -> None:
    assert not timeouts.is_seconds(text)
    assert timeouts.read({"COG_SETUP_TIMEOUT": text, "MODELYARD_RUN_TIMEOUT": text}) == Timeouts()


def test_other_variables_say_nothing() -> None:
    assert timeouts.read({"A": "1"}) == Timeouts()


def test_a_limit_is_told_as_it_was_written() -> None:
    assert timeouts.run_error(1.0) == "Prediction timed out after 1 seconds."
    assert timeouts.run_error(0.25) == "Prediction timed out after 0.25 seconds."
