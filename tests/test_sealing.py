"""Sealed values: what opens them, and what every other try is told."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.sealing import FILE_NAME, Sealer, SealError, parse_key

KEY = "0f" * 32
VALUE = "sk-tell-nobody"


def sealer(folder: Path, key: str | None = None) -> Sealer:
    return Sealer(folder, key, os.urandom)


def test_a_sealed_value_is_opened_for_what_it_was_sealed_for(tmp_path: Path) -> None:
    sealed = sealer(tmp_path).seal(VALUE, "row 1")
    assert VALUE not in sealed
    assert base64.b64encode(VALUE.encode()).decode()[:-4] not in sealed
    assert sealer(tmp_path).open(sealed, "row 1", "It") == VALUE


def test_the_same_value_is_sealed_differently_each_time(tmp_path: Path) -> None:
    one = sealer(tmp_path)
    assert one.seal(VALUE, "row 1") != one.seal(VALUE, "row 1")


def test_the_key_is_made_on_the_first_need_and_for_its_owner_alone(tmp_path: Path) -> None:
    one = sealer(tmp_path)
    assert list(tmp_path.iterdir()) == []
    one.seal(VALUE, "row 1")
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert len(parse_key((tmp_path / FILE_NAME).read_text())) == 32


def test_a_key_that_is_given_needs_no_file(tmp_path: Path) -> None:
    sealed = sealer(tmp_path, KEY).seal(VALUE, "row 1")
    assert list(tmp_path.iterdir()) == []
    spelled_otherwise = base64.b64encode(bytes.fromhex(KEY)).decode()
    assert sealer(tmp_path, spelled_otherwise).open(sealed, "row 1", "It") == VALUE


def test_a_value_of_another_row_is_damaged(tmp_path: Path) -> None:
    one = sealer(tmp_path)
    with pytest.raises(SealError, match="It is damaged"):
        one.open(one.seal(VALUE, "row 1"), "row 2", "It")


@pytest.mark.parametrize("place", [-1, -20, -30])
def test_a_changed_value_is_damaged(tmp_path: Path, place: int) -> None:
    one = sealer(tmp_path)
    sealed = one.seal(VALUE * 3, "row 1")
    changed = sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place:][1:]
    with pytest.raises(SealError, match="It is damaged"):
        one.open(changed, "row 1", "It")


@pytest.mark.parametrize("stored", ["", "x", "2.a.b", "1.", "plain text", "1..."])
def test_what_was_never_sealed_is_said_to_be_damaged_or_of_another_key(tmp_path: Path, stored: str) -> None:
    one = sealer(tmp_path)
    one.seal(VALUE, "row 1")
    with pytest.raises(SealError):
        one.open(stored, "row 1", "It")


def test_a_wrong_key_is_told_from_damage_and_both_keys_are_named(tmp_path: Path) -> None:
    sealed = sealer(tmp_path).seal(VALUE, "row 1")
    with pytest.raises(SealError, match=r"sealed with key .* and setting secret_key .* is key") as caught:
        sealer(tmp_path, KEY).open(sealed, "row 1", "It")
    assert sealed.split(".")[1] in caught.value.detail
    assert caught.value.hint is not None
    assert KEY not in str(caught.value)


def test_a_missing_key_is_named_and_not_made_anew_by_reading(tmp_path: Path) -> None:
    sealed = sealer(tmp_path).seal(VALUE, "row 1")
    (tmp_path / FILE_NAME).unlink()
    with pytest.raises(SealError, match=f"{FILE_NAME} is missing") as caught:
        sealer(tmp_path).open(sealed, "row 1", "It")
    assert "MODELYARD_SECRET_KEY" in (caught.value.hint or "")
    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize("content", [b"", b"too short", b"\xff\xfe", b"0f" * 31])
def test_a_damaged_key_is_named_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(SealError, match=FILE_NAME):
        sealer(tmp_path).seal(VALUE, "row 1")
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_a_folder_that_takes_no_key_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SealError, match="cannot be made"):
        sealer(tmp_path / "missing").seal(VALUE, "row 1")


def test_what_seals_nothing_does_not_load_the_library() -> None:
    code = (
        "import sys, modelyard.app, modelyard.sealing, pathlib, os\n"
        "modelyard.sealing.Sealer(pathlib.Path('/'), None, os.urandom)\n"
        "print('cryptography' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
