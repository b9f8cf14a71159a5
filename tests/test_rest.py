from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard import errors, rest
from modelyard.api.delivery import disposition
from modelyard.api.preferences import parse_cancel_after, parse_prefer
from modelyard.api.stream import event
from modelyard.files import clean_name, content_type


@given(st.integers(0, 2**53), st.text(st.characters(exclude_characters="\x00", codec="utf-8")))
def test_a_cursor_comes_back_as_it_was(at: int, last_id: str) -> None:
    assert rest.parse_cursor(rest.cursor(at, last_id)) == (at, last_id)


@given(st.text())
def test_any_text_is_a_cursor_or_a_bad_request(text: str) -> None:
    try:
        rest.parse_cursor(text)
    except errors.BadRequest:
        return


@given(st.integers(0, 4_000_000_000_000_000))
def test_a_time_comes_back_as_it_was(us: int) -> None:
    text = rest.time_text(us)
    assert rest.parse_time("x", text) == us
    assert len(text) == 27


@pytest.mark.parametrize(
    "text",
    ["1970-01-01T00:00:01Z", "1970-01-01T00:00:01.000000000Z", "1970-01-01T01:00:01+01:00", "1970-01-01T00:00:01"],
)
def test_a_time_is_read_in_the_forms_of_iso_8601(text: str) -> None:
    assert rest.parse_time("x", text) == 1_000_000


@given(st.text())
def test_any_text_is_a_time_or_a_bad_request(text: str) -> None:
    try:
        rest.parse_time("x", text)
    except errors.BadRequest:
        return


SECONDS = [
    (b"wait", 59, b"wait"),
    (b"wait=1", 0.5, b"wait=1"),
    (b"wait=2", 1, b"wait=2"),
    (b"wait=60", 59, b"wait=60"),
    (b"wait=600", 59, b"wait=60"),
    (b"wait=0", 0.5, b"wait=1"),
    (b"Wait = 5", 4, b"wait=5"),
    (b"respond-async, wait=10; q=1", 9, b"wait=10"),
]


@pytest.mark.parametrize(("header", "hold", "applied"), SECONDS)
def test_how_long_a_caller_is_held(header: bytes, hold: float, applied: bytes) -> None:
    assert parse_prefer(header) == (hold, applied)


@pytest.mark.parametrize("header", [b"", b"respond-async", b"wait=soon", b"wait=-5", b"wait=1.5", b"\xff"])
def test_a_preference_that_is_not_understood_is_ignored(header: bytes) -> None:
    assert parse_prefer(header) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [(b"30", 30), (b"30s", 30), (b"5m", 300), (b"1h30m45s", 5445), (b"24h", 86400), (b"5S", 5)]
)
def test_a_duration_is_read(text: bytes, seconds: float) -> None:
    assert parse_cancel_after(text) == seconds


async def _receive(chunks: list[bytes]) -> Any:
    chunk = chunks.pop(0)
    return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}


@pytest.mark.anyio
async def test_a_body_is_read_up_to_its_limit() -> None:
    assert await rest.read_body(lambda: _receive_of([b"ab", b"cd"]), 4) == b"abcd"


def _receive_of(chunks: list[bytes], _kept: dict[int, list[bytes]] = {}) -> Any:  # noqa: B006 - one list for a test
    return _receive(_kept.setdefault(0, list(chunks)))


@pytest.mark.anyio
@pytest.mark.parametrize("chunks", [[b"abcde"], [b"ab", b"cde"], [b"ab", b"cde", b"never read"]])
async def test_a_body_beyond_its_limit_is_refused(chunks: list[bytes]) -> None:
    left = list(chunks)
    with pytest.raises(errors.TooLarge):
        await rest.read_body(lambda: _receive(left), 4)


def scope(host: bytes, scheme: str = "http") -> Any:
    return {"scheme": scheme, "headers": [(b"host", host)], "server": ("10.0.0.1", 80)}


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (b"localhost:9273", "http://localhost:9273"),
        (b"yard.example.org", "http://yard.example.org"),
        (b"[::1]:80", "http://[::1]:80"),
        (b"", "http://10.0.0.1:80"),
        (b'evil"/><script>', "http://10.0.0.1:80"),
        (b"user@host", "http://10.0.0.1:80"),
    ],
)
def test_links_start_with_the_address_that_was_used(host: bytes, origin: str) -> None:
    assert rest.Addresses(None).origin(scope(host)) == origin


def test_links_start_with_the_public_address_where_there_is_one() -> None:
    assert rest.Addresses("https://yard.example.org/x/").origin(scope(b"localhost")) == "https://yard.example.org/x"


def test_a_problem_has_its_headers() -> None:
    assert (b"retry-after", b"7") in rest.problem_headers(errors.TooMany("slow down", 7))
    assert b'"retry_after":7' in rest.problem_body(errors.TooMany("slow down", 7))
    assert b'"hint":"try this"' in rest.problem_body(errors.NotFound("no", hint="try this"))


def test_what_is_not_ours_is_told_as_an_internal_error_without_its_words() -> None:
    shown = rest.as_error(ValueError("a secret"))
    assert shown.status == 500
    assert b"a secret" not in rest.problem_body(shown)


@given(st.text())
def test_any_text_is_an_event_that_readers_can_take_apart(text: str) -> None:
    block = event(b"output", b"1-0", text).decode()
    assert block.endswith("\n\n")
    head, identity, *data = block[:-2].split("\n")
    assert (head, identity) == ("event: output", "id: 1-0")
    assert all(line.startswith("data: ") for line in data)
    wanted = text.encode("utf-8", "replace").decode().replace("\r\n", "\n").replace("\r", "\n")
    assert "\n".join(line.removeprefix("data: ") for line in data) == wanted


@given(st.text())
def test_any_name_becomes_a_plain_one(name: str) -> None:
    plain = clean_name(name)
    assert plain
    assert "/" not in plain
    assert "\\" not in plain
    assert plain not in (".", "..")
    assert len(plain.encode()) <= 255


@given(st.text(st.characters(codec="utf-8")), st.sampled_from(["image/png", "text/html"]))
def test_any_name_makes_a_header(name: str, kind: str) -> None:
    header = disposition(name, kind)
    assert header.isascii()
    assert "\r" not in header
    assert "\n" not in header


@pytest.mark.parametrize(
    ("given", "name", "head", "kind"),
    [
        ("image/webp", "x.png", b"", "image/webp"),
        ("", "x.png", b"", "image/png"),
        ("application/octet-stream", "upload", b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        ("application/octet-stream", "upload", b"what", "application/octet-stream"),
        ("text/html; charset=utf-8", "x", b"", "text/html"),
        ("not a type\r\nx: y", "x.txt", b"", "text/plain"),
    ],
)
def test_the_type_of_a_file(given: str, name: str, head: bytes, kind: str) -> None:
    assert content_type(given, name, head) == kind
