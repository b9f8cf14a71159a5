"""Frames as structs hold what the protocol's description lists, and the channel carries them by the chunk."""

from __future__ import annotations

import re
import typing

import msgspec
import pytest

from modelyard_runner import frames, protocol


def described() -> dict[str, set[str]]:
    """The worker's frames and their fields, from the protocol's own words."""
    text = (protocol.__doc__ or "").partition("From the worker")[2].partition("`files` from")[0]
    found = {}
    for name, fields in re.findall(r"^    (\w+) +(.*?)(?:   .*)?$", text, re.MULTILINE):
        plain = re.sub(r"\|", ",", fields.replace("id | null", "id"))
        found[name] = {field.strip() for field in plain.split(",") if field.strip()}
    return found


def structs() -> dict[str, set[str]]:
    return {
        str(kind.__struct_config__.tag): {name for name in kind.__struct_fields__ if name != "seq"}
        for kind in typing.get_args(frames.Frame)
    }


def test_every_described_frame_has_a_struct_with_the_same_fields() -> None:
    assert structs() == described()


def test_values_pass_through_as_they_came() -> None:
    frame = frames.decode(b'{"kind":"done","id":"p","seconds":1.5,"output":[1.0, 12345678901234567890123],"seq":9}')
    assert isinstance(frame, frames.Done)
    assert bytes(frame.output) == b"[1.0, 12345678901234567890123]"
    assert frame.seq == 9


def test_files_of_a_value_are_structs() -> None:
    file = '{"ref":"r","path":"/x/y.png","name":"y.png","content_type":"image/png","size":3}'
    frame = frames.decode(f'{{"kind":"output","id":"p","index":2,"values":["r"],"files":[{file}]}}'.encode())
    assert isinstance(frame, frames.Output)
    assert frame.files == [frames.File(ref="r", path="/x/y.png", name="y.png", content_type="image/png", size=3)]


def test_an_unknown_kind_is_ignored() -> None:
    assert frames.decode(b'{"kind":"from the future","x":1}') is None


def test_unknown_fields_are_ignored() -> None:
    assert frames.decode(b'{"kind":"started","id":"p","later":true}') == frames.Started(id="p")


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"kind":"started"}', b'{"kind":"started","id":5}', b'{"id":"p"}'])
def test_what_is_no_frame_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        frames.decode(body)


def test_a_raw_value_that_is_left_out_is_null() -> None:
    assert frames.Done(id="p").output == msgspec.Raw(b"null")
