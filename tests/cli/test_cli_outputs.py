"""What `yard run` prints, and the files that it writes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.cli import media_types, outputs
from modelyard.cli.outputs import Outcome, OutputFile, UnwritableError
from modelyard.cli.talk import Talk


class Shown:
    """Runs `outputs.show` and keeps what was said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.status = -1
        self._said = io.StringIO()

    def __call__(self, output: Any = None, wanted: str | None = None, *, as_json: bool = False, **facts: Any) -> str:
        outcome = Outcome(**{"status": "succeeded", "output": output, **facts})
        talk = Talk(self._said, environ={})
        self.status = outputs.show(outcome, wanted, talk, as_json=as_json, cwd=self.folder)
        return self._said.getvalue()


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    monkeypatch.chdir(tmp_path)
    return Shown(tmp_path)


@pytest.fixture
def made(tmp_path: Path) -> dict[str, OutputFile]:
    folder = tmp_path / "scratch"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_text(name)
    return {
        f"ref-{name}": OutputFile(path=folder / f"{name}.png", name=f"{name}.png", content_type="image/png")
        for name in ("a", "b")
    }


@pytest.mark.parametrize(
    ("output", "printed"),
    [
        ("hello", "hello\n"),
        ("", "\n"),
        (3, "3\n"),
        (0.1, "0.1\n"),
        (True, "true\n"),
        ({"b": 1, "a": "ü"}, '{\n  "b": 1,\n  "a": "ü"\n}\n'),
        (["x", "y"], '[\n  "x",\n  "y"\n]\n'),
    ],
)
def test_values_go_to_stdout(output: Any, printed: str, shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(output) == ""
    assert capsys.readouterr().out == printed
    assert shown.status == 0


def test_no_output_is_a_warning(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(None) == "warning: No output generated\n"
    assert (shown.status, capsys.readouterr().out) == (0, "")


def test_a_failure_ends_with_1(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(status="failed", error="out of memory") == (
        'error: Prediction failed with status "failed": out of memory\n'
    )
    assert (shown.status, capsys.readouterr().out) == (1, "")


def test_a_file_is_written_under_the_name_output(
    shown: Shown, made: dict[str, OutputFile], capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown("ref-a", files=made) == "Written output to: output.png\n"
    assert (shown.folder / "output.png").read_text() == "a.png"
    assert capsys.readouterr().out == ""


def test_a_list_of_files_is_numbered(shown: Shown, made: dict[str, OutputFile]) -> None:
    (shown.folder / "pictures").mkdir()
    said = shown(["ref-b", "ref-a"], "pictures/page.jpeg", files=made)
    assert said == "Written output to: pictures/page.0.jpeg\nWritten output to: pictures/page.1.jpeg\n"
    assert (shown.folder / "pictures" / "page.0.jpeg").read_text() == "b.png"


@pytest.mark.parametrize(
    ("wanted", "name"),
    [("x.webp", "x.webp"), ("x", "x.png"), ("@x", "x.png"), ("v1.2", "v1.2.png"), ("here", "here/output.png")],
)
def test_the_name_is_as_wanted(wanted: str, name: str, shown: Shown, made: dict[str, OutputFile]) -> None:
    (shown.folder / "here").mkdir()
    assert shown("ref-a", wanted, files=made) == f"Written output to: {name}\n"


def test_files_inside_an_object_are_written_beside_it(
    shown: Shown, made: dict[str, OutputFile], capsys: pytest.CaptureFixture[str]
) -> None:
    said = shown([{"text": "hi", "my/file": "ref-a"}], files=made)
    assert said == "Written output to: output.0.my_file.png\n"
    assert json.loads(capsys.readouterr().out) == [{"text": "hi", "my/file": "output.0.my_file.png"}]


def test_text_may_go_to_a_file(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown("hello", "greeting.txt") == "Written output to: greeting.txt\n"
    assert (shown.folder / "greeting.txt").read_text() == "hello"
    assert capsys.readouterr().out == ""


def test_json_says_everything(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    shown("", as_json=True, metrics={"lines": 3})
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["status", "output", "error", "metrics"]
    assert document == {"status": "succeeded", "output": "", "error": "", "metrics": {"lines": 3}}


def test_json_of_a_failure_ends_with_1(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    shown(status="failed", error="no", as_json=True)
    assert shown.status == 1
    assert json.loads(capsys.readouterr().out) == {"status": "failed", "output": None, "error": "no"}


def test_json_to_a_file_of_another_suffix_warns(shown: Shown) -> None:
    assert shown(1, "result.txt", as_json=True).startswith("warning: --output value does not have a .json suffix")


def test_an_output_that_cannot_be_written_is_told_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(UnwritableError, match="Output path is not writable") as caught:
        outputs.check_target("missing/x.png", tmp_path)
    assert caught.value.hint == f"mkdir -p {tmp_path / 'missing'}"


def test_a_folder_called_output_is_in_the_way(shown: Shown, made: dict[str, OutputFile]) -> None:
    (shown.folder / "output.png").mkdir()
    with pytest.raises(UnwritableError, match="conflicts with directory, provide --output"):
        shown("ref-a", files=made)


@pytest.mark.parametrize(
    ("kind", "name", "extension"),
    [
        ("image/jpeg", "a.jpeg", ".jpg"),
        ("image/png", "a", ".png"),
        ("text/plain; charset=utf-8", "a", ".txt"),
        ("application/octet-stream", "lora.safetensors", ".safetensors"),
        ("application/octet-stream", "blob", ".bin"),
        ("application/x-never-heard-of", "a.xyz", ".xyz"),
        ("application/x-never-heard-of", "a", ""),
    ],
)
def test_extensions_follow_the_media_type(kind: str, name: str, extension: str) -> None:
    assert media_types.extension(kind, name) == extension
