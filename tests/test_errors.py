"""The error tree: status, code and words."""

from __future__ import annotations

import pytest

from modelyard import errors

CLASSES = [
    (errors.ModelyardError, 500),
    (errors.BadRequest, 400),
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.TooLarge, 413),
    (errors.Invalid, 422),
    (errors.TooMany, 429),
    (errors.Unavailable, 503),
    (errors.OutOfSpace, 507),
]


@pytest.mark.parametrize(("kind", "status"), CLASSES)
def test_each_error_has_its_status(kind: type[errors.ModelyardError], status: int) -> None:
    assert kind.status == status
    assert issubclass(kind, errors.ModelyardError)


def test_codes_are_stable_words_and_differ() -> None:
    codes = [kind.code for kind, _ in CLASSES]

    assert len(set(codes)) == len(codes)
    assert all(code.replace("_", "").isalpha() and code.islower() for code in codes)


def test_an_error_carries_its_words_and_further_members() -> None:
    error = errors.Conflict("the name is taken", title="Taken", hint="choose another", name="hello")

    assert str(error) == error.detail == "the name is taken"
    assert (error.title, error.hint, error.extra) == ("Taken", "choose another", {"name": "hello"})
    assert errors.Conflict.title == "Conflict"


@pytest.mark.parametrize(
    ("said", "hint", "whole"),
    [
        ("it runs in a container only", "Start another.", "it runs in a container only. Start another."),
        ("There is none!", "yard models lists them", "There is none! yard models lists them."),
        ("nothing to add", None, "nothing to add"),
    ],
)
def test_what_was_said_and_the_next_step_are_sentences(said: str, hint: str | None, whole: str) -> None:
    assert errors.sentences(said, hint) == whole


def test_without_words_the_title_speaks() -> None:
    assert str(errors.NotFound()) == "Not found"


def test_wrong_fields_are_named() -> None:
    field = {"type": "required", "field": "input", "description": "input is required"}

    error = errors.Invalid("- input: input is required", [field])

    assert error.invalid_fields == [field]
    assert error.extra == {"invalid_fields": [field]}
    assert errors.Invalid("no fields").extra == {}


def test_too_many_says_when_to_come_again() -> None:
    error = errors.TooMany("slow down", 7)

    assert error.retry_after == 7
    assert error.extra == {"retry_after": 7}


def test_wrong_usage_of_a_command_is_exit_status_two() -> None:
    assert errors.UsageError.exit_status == 2
