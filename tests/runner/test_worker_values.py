"""What goes into a model and what comes out of it: conversions, files, every shape of output."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.runner.harness import Worker, worker


def test_numbers_are_what_the_annotation_says() -> None:
    with worker("basic.py:number_kinds") as one:
        assert one.output({"i": 3.0, "f": 2}) == "3 2.0 None [1, 0]"
        assert one.output({"i": 3, "f": 2.5, "n": 4.0, "many": [5.0]}, "p2") == "3 2.5 4 [5, 0]"
        assert one.output({"i": 1, "f": 1}, "p3") == "1 1.0 None [1, 0]"


def test_secrets_are_secrets_also_in_lists() -> None:
    with worker("basic.py:secret") as one:
        assert one.output({"token": "abc", "more": ["d", "e"]}) == ["**********", "abc", "d", "e"]


def test_an_unknown_input_is_dropped_and_a_missing_one_named() -> None:
    with worker("basic.py:hello") as one:
        assert one.output({"text": "x", "other": 1}) == "hello x"
        assert one.run({}, "p2")["error"] == "input 'text' is required"


def test_a_large_input_comes_in_a_file() -> None:
    with worker("basic.py:hello") as one:
        path = one.home / "input.json"
        path.write_text(json.dumps({"text": "x" * 1_000_000}))
        one.send(kind="predict", id="p1", input_file=str(path))
        done = one.end_of("p1")
        assert len(json.loads(Path(done["spilled"]).read_text())) == 1_000_006


def test_a_data_uri_becomes_a_file_with_an_ending() -> None:
    for uri, name, text in [
        ("data:text/plain;base64," + base64.b64encode(b"hi there").decode(), "file.txt", "hi there"),
        ("data:image/jpeg;base64," + base64.b64encode(b"jpeg").decode(), "file.jpg", "jpeg"),
        ("data:audio/wav;base64,", "file.wav", ""),
        ("data:,a%20b", "file.txt", "a b"),
    ]:
        with worker("files_in.py:describe") as one:
            assert one.output({"path": uri}) == ["Path", name, text]


def test_other_strings_are_paths_as_they_are() -> None:
    with worker("files_in.py:describe") as one:
        assert one.output({"path": "ftp://x/y.png"}) == ["Path", "y.png", None]


def test_a_file_that_is_here_already_is_handed_over_as_a_copy_under_its_own_name() -> None:
    with worker("files_in.py:describe") as one:
        here = one.home / "blob"
        here.write_text("bytes")
        url = "http://127.0.0.1:1/files/photo.png?token=x"
        assert one.output({"path": url}, files={url: str(here)}) == ["Path", "photo.png", "bytes"]
        assert here.read_text() == "bytes"


def test_files_stand_in_lists_and_optionals() -> None:
    with worker("files_in.py:many") as one:
        value = {"paths": ["data:,one", "data:text/html,two"], "one": "data:,three"}
        assert one.output(value) == [["file.txt", "one"], ["file.html", "two"], "three"]


def test_a_file_input_is_an_open_file() -> None:
    with worker("files_in.py:opened") as one:
        assert one.output({"file": "data:,content"}) == "content"


def test_an_async_model_gets_files_too() -> None:
    with worker("files_in.py:from_async") as one:
        assert one.output({"path": "data:,content"}) == "content"


def test_a_string_that_is_a_url_stays_a_string() -> None:
    with worker("files_in.py:plain") as one:
        assert one.output({"text": "data:,content"}) == "data:,content"


def test_input_files_are_gone_when_the_prediction_is_over() -> None:
    with worker("files_in.py:kept") as one:
        path = one.output({"path": "data:,content"})
        assert path.startswith(f"{one.scratch}/predictions/p1/inputs/")
        assert not Path(path).exists()


def test_a_bad_data_uri_fails_the_prediction_and_names_the_input() -> None:
    with worker("files_in.py:describe") as one:
        assert one.run({"path": "data:nothing"})["error"].startswith(
            "input 'path' could not be fetched: a data URI without"
        )


def test_an_id_that_is_a_path_is_refused() -> None:
    with worker("files_in.py:describe") as one:
        assert "is not a name" in one.run({"path": "data:,x"}, "../../evil")["error"]
        assert not (one.home / "evil").exists()


@pytest.fixture(scope="module")
def shaper() -> Any:
    with worker("shapes.py:make") as one:
        yield one


@pytest.mark.parametrize(
    ("shape", "output"),
    [
        ("none", None),
        ("dict", {"a": [1, 2.5, None, True], "b": 'ü\n"quoted"'}),
        ("enum", ["red"]),
        ("time", ["2024-01-02T03:04:05", "2024-01-02", 3.0]),
        ("set", ["x"]),
        ("tuple", [1, [2, 3]]),
        ("generator inside", {"g": [0, 1, 2]}),
        ("dataclass", {"x": 1, "y": [{"x": 2, "y": []}]}),
        ("array", {"a": [1.5, 2.0], "b": 3}),
        ("pydantic", [{"a": "red", "when": "2024-01-02"}, {"a": 1}]),
        ("secret", {"s": "**********", "t": "fine"}),
        ("surrogate", "half \ufffd"),
    ],
)
def test_an_output_of_every_shape_is_json(shaper: Worker, shape: str, output: object) -> None:
    assert shaper.output({"shape": shape}, f"shape {shape}") == output


@pytest.mark.parametrize(
    ("shape", "error"),
    [
        ("bytes", "output.a[1]: bytes is not JSON; return a Path to a file, or text"),
        ("nan", "output.a[1] is nan, which JSON does not have"),
        ("array nan", "output.a[0] is inf, which JSON does not have"),
        ("object", "output[0]: an object of type builtins.object is not JSON"),
        ("bad key", "output: a key of type tuple; JSON has only texts as keys"),
        ("circle", "is nested too deeply, or contains itself"),
        ("missing", "output file '/nowhere/out.png' does not exist"),
        ("directory", "is a directory; return a file, or a list of files"),
    ],
)
def test_an_output_that_is_no_json_fails_and_says_where(shaper: Worker, shape: str, error: str) -> None:
    frame = shaper.run({"shape": shape}, f"bad {shape}")
    assert frame["kind"] == "failed"
    assert error in frame["error"]


def test_files_go_beside_the_link_under_their_own_names(shaper: Worker) -> None:
    done = shaper.run({"shape": "path in dict"}, "files")
    files = {file["ref"]: file for file in done["files"]}
    found = [files[done["output"]["one"]], *(files[ref] for ref in done["output"]["two"])]
    assert [file["name"] for file in found] == ["a.png", "a.png", "b.txt"]
    assert [file["content_type"] for file in found] == ["image/png", "image/png", "text/plain"]
    for file in found:
        assert Path(file["path"]).read_text() == "content"
        assert file["size"] == 7
        assert file["path"].startswith(f"{shaper.scratch}/predictions/files/outputs/")


@pytest.mark.parametrize(
    ("shape", "name", "content"),
    [
        ("path", "out.txt", b"content"),
        ("open file", "open.txt", b"from disk"),
        ("bytes io", "output", b"in memory"),
        ("string io", "output", b"in memory"),
    ],
)
def test_a_file_alone_is_the_output(shaper: Worker, shape: str, name: str, content: bytes) -> None:
    done = shaper.run({"shape": shape}, f"alone {shape}")
    (file,) = done["files"]
    assert done["output"] == file["ref"]
    assert file["name"] == name
    assert Path(file["path"]).read_bytes() == content


def test_a_model_of_the_sdk_with_a_file_in_it(shaper: Worker) -> None:
    done = shaper.run({"shape": "model"}, "scored")
    assert done["output"] == {"label": "cat", "score": 0.5, "picture": done["files"][0]["ref"]}


def test_a_huge_value_travels_as_a_file(shaper: Worker) -> None:
    done = shaper.run({"shape": "huge"}, "huge")
    assert "output" not in done
    assert json.loads(Path(done["spilled"]).read_text()) == "x" * 3_000_000


def test_items_may_be_files_and_huge_values() -> None:
    with worker("shapes.py:files") as one:
        one.run({"count": 3})
        frames = one.of("output")
        assert [Path(frame["files"][0]["path"]).read_text() for frame in frames] == ["0", "1", "2"]
        assert [frame["values"] for frame in frames] == [[frame["files"][0]["ref"]] for frame in frames]
    with worker("shapes.py:big_items") as one:
        one.run({"count": 3})
        assert one.items() == [str(number) * 1_000_000 for number in range(3)]


def test_a_path_that_is_written_again_leaves_earlier_outputs_as_they_were() -> None:
    with worker("shapes.py:same_path") as one:
        first = one.run({"text": "one"}, "a")["files"][0]["path"]
        second = one.run({"text": "two"}, "b")["files"][0]["path"]
        assert [Path(first).read_text(), Path(second).read_text()] == ["one", "two"]


@pytest.mark.parametrize("function", ["listed", "listed_later", "perhaps_listed", "yields_they_say"])
def test_where_a_list_is_promised_a_list_comes(function: str) -> None:
    wanted = {
        "text": ["alone"],
        "none": None if function == "perhaps_listed" else [],
        "dict": [{"a": 1}],
        "list": ["a"],
        "tuple": ["a", "b"],
        "set": ["a"],
        "array": [1.5],
    }
    with worker(f"shapes.py:{function}") as one:
        assert {what: one.output({"what": what}, f"p-{what}") for what in wanted} == wanted
        long = one.run({"what": "long"}, "long")
        assert json.loads(Path(long["spilled"]).read_text()) == ["x" * 500_000]


def test_where_no_list_is_promised_a_value_stays_alone() -> None:
    with worker("shapes.py:unsaid") as one:
        assert one.output({"what": "text"}) == "alone"
        assert one.output({"what": "none"}, "p2") is None
