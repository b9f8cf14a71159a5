"""What a mask lets through, whole and in pieces."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.predictions.masking import MASK, Mask, Withholding, mask_of

VALUE = "sk-tell-nobody"


def mask(*values: str) -> Mask:
    found = mask_of(values)
    assert found is not None
    return found


def fed(one: Mask, *pieces: str) -> str:
    return "".join(map(one.feed, pieces)) + one.rest()


def test_a_value_is_replaced_and_what_is_around_it_stays() -> None:
    assert fed(mask(VALUE), f"a {VALUE} b {VALUE}\n") == f"a {MASK} b {MASK}\n"


@pytest.mark.parametrize("cut", range(1, len(VALUE)))
def test_a_value_that_comes_in_two_pieces_is_replaced(cut: int) -> None:
    one = mask(VALUE)
    first = one.feed("key: " + VALUE[:cut])
    assert first == "key: "
    assert first + one.feed(VALUE[cut:] + "\n") == f"key: {MASK}\n"


def test_what_only_looked_like_the_beginning_is_given_back() -> None:
    one = mask(VALUE)
    assert one.feed("task") == "ta"
    assert one.feed("s\n") == "sks\n"
    assert one.feed("sk-tell") == ""
    assert one.rest() == "sk-tell"


def test_nothing_is_held_back_of_a_line_that_is_over() -> None:
    assert mask(VALUE).feed("ordinary\n") == "ordinary\n"


def test_the_longer_of_two_values_is_hidden_whole() -> None:
    assert fed(mask("abcde", "abcdefgh"), "abcde", "fgh!") == f"{MASK}!"
    assert fed(mask("abcde", "abcdefgh"), "abcde", "fxx") == f"{MASK}fxx"


def test_short_values_are_not_masked() -> None:
    assert mask_of(["1234", "", "   a   "]) is None


def test_a_value_of_many_lines_is_hidden_line_by_line_too() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----\n"
    assert fed(mask(key), "MIIEvQIBADANBg") == MASK
    assert "MIIE" not in fed(mask(key), f"got {key} there")


def test_a_value_as_json_writes_it_is_hidden() -> None:
    value = 'say "é" to\nnobody'
    assert json.dumps(value) not in fed(mask(value), f"x {json.dumps(value)} x")
    assert fed(mask(value), json.dumps(value)) == f'"{MASK}"'


@given(
    st.lists(st.text("ab", min_size=5, max_size=8), min_size=1, max_size=3),
    st.lists(st.text("ab", max_size=12), max_size=12),
)
def test_no_value_passes_whatever_the_pieces(values: list[str], pieces: list[str]) -> None:
    shown = fed(mask(*values), *pieces)
    assert not [value for value in values if value in shown.split(MASK)]
    assert all(value not in part for value in values for part in shown.split(MASK))


@given(st.lists(st.text("sk-telnobdy \n", max_size=12), max_size=12))
def test_text_without_a_value_passes_unchanged(pieces: list[str]) -> None:
    text = "".join(pieces)
    if VALUE not in text:
        assert fed(mask(VALUE), *pieces) == text


def test_who_does_not_know_the_values_shows_nothing() -> None:
    one = Withholding()
    assert fed(one, "anything", VALUE) == ""
    assert VALUE not in one.whole(VALUE)


def test_a_large_value_does_not_make_a_large_log_slow() -> None:
    one = mask("".join(f"{number:x}" for number in range(9000)))
    began = time.monotonic()
    for _ in range(500):
        one.feed("0123456789abcdef" * 8 + "\n")
    assert time.monotonic() - began < 30
