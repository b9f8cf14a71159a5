"""What goes into a version: the files of the project by the rules of `.dockerignore`, and the labels of its image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelyard.oci import archive, labels
from modelyard.oci.archive import Image
from modelyard.oci.layout import Layout
from modelyard.packaging import box, ignore, recipe
from modelyard.packaging.recipe import Facts, RecipeError, SourceFile
from modelyard.store.environments import Lock

FACTS = Facts(
    config={"predict": "run.py:Runner"},
    schema={"openapi": "3.0.2", "b": 1, "a": "ü"},
    lock=Lock(text="six==1.17.0\n", python="3.12"),
    ref="run.py:Runner",
    train_ref="train.py:train",
    concurrency=4,
    environment=["A=1"],
)


@pytest.mark.parametrize(
    ("patterns", "path", "out"),
    [
        ("*.log", "a.log", True),
        ("*.log", "sub/a.log", False),
        ("**/*.log", "sub/deep/a.log", True),
        ("**/*.log", "a.log", True),
        ("data", "data/x/y", True),
        ("data/", "data/x", True),
        ("/data", "data", True),
        ("./data", "data", True),
        ("data", "database", False),
        ("data/**", "data/x/y", True),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab].txt", "b.txt", True),
        ("[^ab].txt", "b.txt", False),
        ("[ab.txt", "[ab.txt", True),
        (r"a\*b", "a*b", True),
        (r"a\*b", "axb", False),
        ("*\n!keep.txt", "keep.txt", False),
        ("*\n!keep.txt", "other.txt", True),
        ("data\n!data/keep", "data/keep", False),
        ("!x\nx", "x", True),
        ("# x\n\n  \n", "x", False),
        ("a.b", "aXb", False),
        ("*", "any/thing", True),
    ],
)
def test_dockerignore_is_read_as_docker_reads_it(patterns: str, path: str, out: bool) -> None:
    assert ignore.Ignore(patterns)(path) is out


def test_caches_version_control_and_virtual_environments_never_belong_to_a_model(tmp_path: Path) -> None:
    for name in ("run.py", ".git/HEAD", ".cog/x", "pkg/__pycache__/m.pyc", "pkg/m.py", "pkg/old.pyc", ".DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("venv", ".venv", "sub/env"):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "pyvenv.cfg").touch()
    assert list(ignore.walk(tmp_path)) == ["pkg", "pkg/m.py", "run.py", "sub"]


def test_a_folder_that_is_left_out_may_hold_a_file_that_is_taken_back(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "big").touch()
    (tmp_path / "data" / "small").touch()
    (tmp_path / ".dockerignore").write_text("data\n!data/small\n")
    assert list(ignore.walk(tmp_path)) == [".dockerignore", "data/small"]


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(".")
    assert list(ignore.walk(tmp_path)) == ["loop"]


def test_an_image_that_was_built_in_a_project_is_no_part_of_it(tmp_path: Path) -> None:
    image = Image(manifest=b"{}", config=b"{}", layers=())
    told: list[str] = []
    for name in ("m.tar", "kept.tar", "ignored.tar", "m.bin"):
        (tmp_path / name).write_bytes(b"".join(archive.stream(archive.whole(image, "m:latest"))))
    (tmp_path / "data.tar").write_bytes(b"x" * 2000)
    (tmp_path / "short.tar").touch()
    (tmp_path / "link.tar").symlink_to("m.tar")
    (tmp_path / "folder.tar").mkdir()
    for name in ("out", "data/kept", "data/out"):
        Layout(tmp_path / name).name(image.descriptor, "m:latest")
    (tmp_path / ".dockerignore").write_text("ignored.tar\n!kept.tar\n!data/kept\n")
    found = list(ignore.walk(tmp_path, tell=told.append))
    kept = ["data", "data/kept", "data/kept/index.json", "data/kept/oci-layout"]
    files = ["data.tar", "folder.tar", "kept.tar", "link.tar", "m.bin", "short.tar"]
    assert found == [".dockerignore", *kept, *files]
    assert told == ["data/out", "m.tar", "out"]


def test_labels_say_everything_that_is_needed_to_run_it(tmp_path: Path) -> None:
    files = [SourceFile(path=path, size=1) for path in ("run.py", "train.py")]
    files.append(SourceFile(path="w.bin", size=recipe.WEIGHTS_BYTES))
    planned = recipe.plan(tmp_path, files, FACTS, version="1.2", machine="x86_64")
    assert (planned.source, planned.weights) == (("run.py", "train.py"), ("w.bin",))
    assert planned.architecture == "amd64"
    found = planned.labels
    assert json.loads(found["run.cog.openapi_schema"]) == FACTS.schema
    assert list(json.loads(found["run.cog.openapi_schema"])) == ["openapi", "b", "a"]
    assert found["org.cogmodel.config"] == found["run.cog.config"] == '{"predict":"run.py:Runner"}'
    assert (found[labels.LOCK], found[labels.PYTHON]) == ("six==1.17.0\n", "3.12")
    assert (found[labels.REF], found[labels.TRAIN_REF]) == ("run.py:Runner", "train.py:train")
    assert found[labels.CONCURRENCY] == "4"


def test_a_model_whose_file_is_left_out_is_refused_with_the_line_that_helps(tmp_path: Path) -> None:
    files = [SourceFile(path="run.py", size=1)]
    with pytest.raises(RecipeError, match=r"train\.py") as caught:
        recipe.plan(tmp_path, files, FACTS, version="1", machine="arm64")
    assert caught.value.hint is not None
    assert "!train.py" in caught.value.hint


def test_the_box_holds_what_stands_beside_a_model_and_nothing_else() -> None:
    found = box.paths()
    names = {path.name for folder in found for path in Path(folder).iterdir() if (path / "__init__.py").exists()}
    assert names == {"cog", "modelyard_runner"}
