"""Ids, tokens, secrets and what is kept of them."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
import uuid

import pytest

from modelyard import ids


def test_ids_have_their_form() -> None:
    one = ids.new_id()

    assert len(one) == 26
    assert set(one) <= set("0123456789abcdefghjkmnpqrstvwxyz")
    assert ids.is_id(one)


def test_later_ids_sort_later() -> None:
    made = [ids.new_id() for _ in range(20_000)]

    assert made == sorted(set(made))


def test_ids_of_many_threads_differ() -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(ids.new_id() for _ in range(2_000))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(made)) == 16_000


def test_ids_of_one_moment_cannot_be_counted_on() -> None:
    first, second = (int(ids.new_id(), 36) for _ in range(2))

    assert second - first > 1_000_000


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "0" * 27, "I" * 26, "i" * 26, "0" * 25 + "U", "../" + "0" * 23, "0" * 26 + "\n"]
)
def test_other_texts_are_no_ids(text: str) -> None:
    assert not ids.is_id(text)


def test_a_token_has_its_public_form() -> None:
    token = ids.new_token()

    assert token.startswith("r8_")
    assert len(token) == 40
    assert token.removeprefix("r8_").isalnum()
    assert token != ids.new_token()


def test_a_webhook_secret_holds_24_bytes() -> None:
    secret = ids.new_secret()

    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 24


def test_only_a_hash_is_kept_of_a_token() -> None:
    assert ids.token_hash("r8_x") == hashlib.sha256(b"r8_x").hexdigest()


def test_the_id_of_a_push_is_a_uuid_of_version_7_and_later_ones_sort_later() -> None:
    before = time.time_ns() // 1_000_000
    made = [ids.new_push_id() for _ in range(100)]
    after = time.time_ns() // 1_000_000
    read = [uuid.UUID(each) for each in made]
    assert {(each.version, each.variant) for each in read} == {(7, uuid.RFC_4122)}
    assert len(set(made)) == 100
    moments = [each.int >> 80 for each in read]
    assert moments == sorted(moments)
    assert before <= moments[0] <= moments[-1] <= after
