"""Values between a yard and a Cog server: files of one become data URLs of the other, and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard_runner import driver_values as values
from modelyard_runner.driver_api import said_by
from modelyard_runner.folder import Folder


def test_an_input_that_stands_for_a_file_becomes_a_data_url_of_its_kind(tmp_path: Path) -> None:
    (tmp_path / "0").write_bytes(b"\x89PNG")
    files = {"https://yard/a.png?x=1": str(tmp_path / "0")}
    given = {"image": "https://yard/a.png?x=1", "others": ["text", "https://yard/a.png?x=1"], "n": 1}
    sent = values.to_cog(given, files)
    assert sent == {
        "image": "data:image/png;base64,iVBORw==",
        "others": ["text", "data:image/png;base64,iVBORw=="],
        "n": 1,
    }


def test_a_data_url_keeps_its_kind_though_a_short_one_stands_for_it(tmp_path: Path) -> None:
    (tmp_path / "0").write_bytes(b"hello")
    assert values.to_cog("data:text/csv,0", {"data:text/csv,0": str(tmp_path / "0")}) == "data:text/csv;base64,aGVsbG8="


def test_a_file_that_fits_into_no_request_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with (tmp_path / "0").open("wb") as file:
        file.truncate(values.MAX_FILE_BYTES + 1)
    with pytest.raises(values.TooLargeError, match="up to 64 MiB"):
        values.to_cog("https://yard/a", {"https://yard/a": str(tmp_path / "0")})


def test_an_output_data_url_becomes_a_file_with_the_ending_of_its_kind(tmp_path: Path) -> None:
    found = values.from_cog({"a": ["data:image/png;base64,iVBORw==", "text"]}, Folder(str(tmp_path), "p"))
    path, text = found["a"]
    assert (path.read_bytes(), path.suffix, text) == (b"\x89PNG", ".png", "text")


@pytest.mark.parametrize("text", ["data:", "data:text/plain;base64,???", "data: is what we need"])
def test_a_text_that_only_begins_like_a_data_url_stays_a_text(tmp_path: Path, text: str) -> None:
    assert values.from_cog(text, Folder(str(tmp_path), "p")) == text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"detail":[{"loc":["body","input","n"],"msg":"Field required","type":"x"}]}', "n: Field required"),
        (b'{"error":"At capacity"}', "At capacity"),
        (b"Failed to parse", "Failed to parse"),
        (b"[1]", "[1]"),
    ],
)
def test_a_refusal_is_put_into_words(body: bytes, said: str) -> None:
    assert said_by(body) == said
