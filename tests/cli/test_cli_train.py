"""`yard train` with real trainings: what is checked before, what runs, and where its output goes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from yard_process import Run

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
DEPRECATED = 'warning: Command "train" is deprecated, the train command will be removed in a future version of Cog\n'

TRAIN = """
import io
from cog import BaseModel, File, Input, Path

print("loaded")


class Out(BaseModel):
    weights: Path
    steps: int


class Trainer:
    def setup(self) -> None:
        self.ready = "set up"

    def train(self, steps: int = Input(default=1, ge=1)) -> str:
        return f"{self.ready} {steps}"


def text(data: Path = Input()) -> str:
    return data.read_text() + ", trained"


def file(name: str = "tuned.json") -> Path:
    with open(name, "w") as out:
        out.write("{}")
    return Path(name)


def held() -> File:
    return io.StringIO("held")


def both() -> Out:
    return Out(weights=file("w.txt"), steps=2)


def broken() -> str:
    raise ValueError("no data")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project that trains and has nothing to run."""
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    return use(folder, "Trainer")


def use(folder: Path, name: str) -> Path:
    (folder / "cog.yaml").write_text(f'build:\n  python_version: "{PYTHON}"\ntrain: "train.py:{name}"\n')
    return folder


def test_a_class_that_only_trains_is_set_up_and_its_text_becomes_the_file_weights(yard: Run, folder: Path) -> None:
    done = yard("train", "-i", "steps=3", cwd=folder)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.startswith(DEPRECATED)
    assert "Running training...\n" in done.stderr
    assert done.stderr.endswith("Written output to: weights\n")
    assert (folder / "weights").read_text() == "set up 3"


def test_a_file_keeps_its_extension_and_what_train_writes_stays_in_the_project(yard: Run, folder: Path) -> None:
    (use(folder, "file") / "below").mkdir()
    assert "Written output to: weights.json" in yard("train", cwd=folder / "below").stderr
    assert (folder / "below" / "weights.json").read_text() == "{}"
    assert (folder / "tuned.json").exists()
    yard("train", "-o", "mine.bin", cwd=folder)
    assert (folder / "mine.bin").read_text() == "{}"


def test_a_file_that_was_never_on_disk_is_written_too(yard: Run, folder: Path) -> None:
    assert yard("train", "-o", "kept", cwd=use(folder, "held")).returncode == 0
    assert [one.read_text() for one in folder.glob("kept*")] == ["held"]


def test_anything_else_is_written_as_json_with_its_files_inside(yard: Run, folder: Path) -> None:
    yard("train", cwd=use(folder, "both"))
    assert json.loads((folder / "weights").read_text()) == {"weights": "data:text/plain;base64,e30=", "steps": 2}
    assert '\n  "steps": 2\n' in (folder / "weights").read_text()


def test_a_folder_that_has_the_name_takes_the_output(yard: Run, folder: Path) -> None:
    (folder / "weights").mkdir()
    assert yard("train", cwd=folder).stderr.endswith("Written output to: weights/weights\n")
    yard("train", cwd=use(folder, "file"))
    assert sorted(one.name for one in (folder / "weights").iterdir()) == ["weights", "weights.json"]


def test_files_go_in(yard: Run, folder: Path) -> None:
    (folder / "data.txt").write_text("rows")
    yard("train", "-i", "data=@data.txt", cwd=use(folder, "text"))
    assert (folder / "weights").read_text() == "rows, trained"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("steps=0", 'error: invalid input "steps": number must be at least 1\n'),
        ("nope=1", 'error: unknown input "nope"; valid inputs are: steps\n'),
    ],
)
def test_inputs_are_refused_before_anything_is_made(given: str, said: str, yard: Run, folder: Path) -> None:
    done = yard("train", "-i", given, cwd=folder)
    assert (done.returncode, done.stderr) == (2, DEPRECATED + said)
    assert not (folder / ".cog" / "locks").exists()


def test_a_training_that_fails_writes_nothing(yard: Run, folder: Path) -> None:
    done = yard("train", cwd=use(folder, "broken"))
    assert done.returncode == 1
    assert 'error: Training failed with status "failed": ValueError: no data' in done.stderr
    assert not (folder / "weights").exists()


def test_what_cannot_be_trained_is_said_after_the_warning(yard: Run, folder: Path, tmp_path: Path) -> None:
    nowhere = yard("train", cwd=tmp_path)
    assert nowhere.returncode == 1
    assert nowhere.stderr.startswith(DEPRECATED + "error: cog.yaml not found in ")
    (folder / "cog.yaml").write_text('run: "train.py:text"\n')
    done = yard("train", cwd=folder)
    assert done.returncode == 1
    assert done.stderr == (
        f'{DEPRECATED}error: cog.yaml names nothing that trains\nhint: add the line: train: "train.py:train"\n'
    )
    image = yard("train", "some-image", cwd=folder, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert image.returncode == 1
    assert "error: the image 'some-image' needs a Docker Engine, and none answers " in image.stderr
    assert "\nhint: " in image.stderr


def test_a_project_that_only_trains_says_so_when_it_is_run(yard: Run, folder: Path) -> None:
    done = yard("run", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cog.yaml names what trains and nothing to run\nhint: yard train trains here")
