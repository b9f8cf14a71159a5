"""A version with managed weights: imported, pushed and run in a yard, each file sent and kept once."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import weights_project
import yard_process
from weights_project import BASE, FILES
from yard_process import Run, Server

from modelyard.weights import lock

RUNS = """
import os
from pathlib import Path


def run(path: str = "/src/weights/base/a.txt") -> str:
    try:
        Path(path).write_text("changed")
    except OSError as error:
        return f"{sorted(os.listdir('/src/weights/base'))} {Path(path).read_text()} {error.strerror}"
    return "it could be changed"
"""


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Path:
    """A project whose weights are in its folder `original`, which stays out of the version."""
    folder = tmp_path / "project"
    (folder / "original" / "sub").mkdir(parents=True)
    for path, data in FILES.items():
        (folder / "original" / path).write_bytes(data)
    (folder / ".dockerignore").write_text("original\n")
    write(folder, server, "yard/weighty")
    return folder


def write(folder: Path, server: Server, model: str) -> None:
    weights_project.write(folder, BASE, model=f"{server.url.partition('://')[2]}/{model}", code=RUNS)
    (folder / "cog.yaml").write_text((folder / "cog.yaml").read_text().replace("run.py:Runner", "run.py:run"))
    lock.path_of(folder).unlink()


@pytest.fixture
def here(home: Path, tmp_path: Path, project: Path, server: Server) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        known = {
            "COG_CACHE_DIR": str(tmp_path / "store"),
            "MODELYARD_URL": server.url,
            "MODELYARD_TOKEN": server.token,
        }
        done = yard_process.run(*arguments, home=home, cwd=project, **known)
        assert "Traceback" not in done.stderr
        return done

    return run


def sent(here: Run, *arguments: str) -> int:
    done = here("push", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["sent_bytes"])


def test_an_instance_of_the_version_sees_them_and_cannot_change_them(here: Run) -> None:
    imported = here("weights", "import")
    assert imported.returncode == 0, imported.stderr
    assert here("push").returncode == 0
    for path in ("/src/weights/base/a.txt", "weights/base/a.txt"):
        done = here("run", "yard/weighty", "-i", f"path={path}")
        assert done.stdout == "['a.txt', 'sub'] all of a Read-only file system\n", done.stderr


def test_what_the_import_sent_is_not_sent_again_nor_by_the_next_version(
    here: Run, project: Path, server: Server
) -> None:
    big = random.Random(7).randbytes(2**20)
    (project / "original" / "big.npy").write_bytes(big)
    write(project, server, "yard/once")
    assert here("weights", "import").returncode == 0
    size = sum(layer.size for weight in _lock(project).weights for layer in weight.layers)
    first = sent(here)
    (project / "run.py").write_text(RUNS + "\n# another version\n")
    assert 0 < sent(here) < size
    assert 0 < first < size
    # Another model of the same yard takes them over.
    assert sent(here, "yard/once-more") < size
    assert here("run", "yard/once-more").stdout.startswith("['a.txt', 'big.npy', 'sub'] all of a")


def test_what_the_yard_lacks_is_sent(here: Run, project: Path, server: Server, tmp_path: Path) -> None:
    with yard_process.up(_made(tmp_path / "another")) as another:
        write(project, another, "yard/elsewhere")
        (project / "original" / "sub" / "b.txt").write_bytes(b"only there, to be sent here")
        known = {"MODELYARD_URL": another.url, "MODELYARD_TOKEN": another.token}
        done = yard_process.run(
            "weights", "import", home=tmp_path, cwd=project, COG_CACHE_DIR=str(tmp_path / "store"), **known
        )
        assert done.returncode == 0, done.stderr
    size = sum(layer.size for weight in _lock(project).weights for layer in weight.layers)
    assert sent(here, "yard/from-elsewhere") > size
    assert here("run", "yard/from-elsewhere").stdout.startswith("['a.txt', 'sub'] all of a")


def sources(folder: Path) -> set[str]:
    """What is in the layer of the project's own files."""
    (archive,) = (folder / ".cog" / "layers").glob("?" * 64 + ".tar.gz")
    with tarfile.open(archive) as members:
        return {member.name.removeprefix("src/") for member in members}


def test_the_folder_that_weights_came_from_is_not_sent_with_the_project_too(here: Run, project: Path) -> None:
    (project / ".dockerignore").unlink()
    (project / "original" / "code.py").write_text("")
    assert here("weights", "import").returncode == 0
    (project / "original" / "later.txt").write_text("not imported")
    done = here("push", "yard/apart")
    assert done.returncode == 0, done.stderr
    said = 'weight "base": the files of original go as the weight alone, to be found at /src/weights/base'
    assert said in done.stderr
    inside = {path for path in sources(project) if path.startswith("original")}
    assert inside == {"original/code.py", "original/later.txt"}
    (project / ".dockerignore").write_text("!original\n")
    done = here("push", "yard/apart")
    assert said not in done.stderr
    assert {"original/a.txt", "original/sub/b.txt"} <= sources(project)


def test_weights_among_the_models_code_are_sent_twice_and_it_is_said(here: Run, project: Path, server: Server) -> None:
    write(project, server, "yard/twice")
    (project / "cog.yaml").write_text((project / "cog.yaml").read_text().replace("{uri: ./original}", "{uri: .}"))
    assert here("weights", "import").returncode == 0
    done = here("push")
    assert done.returncode == 0, done.stderr
    assert 'weight "base": its source . holds the model\'s code (run.py), so its files are sent twice' in done.stderr
    assert "cog.yaml" in sources(project)


def test_a_push_without_its_files_is_refused_before_anything_is_built(here: Run, project: Path, tmp_path: Path) -> None:
    assert "not imported yet" in here("push").stderr
    assert here("weights", "import").returncode == 0
    shutil.rmtree(tmp_path / "store" / "weights" / "files")
    done = here("push")
    assert done.returncode == 1
    words = """weight "base" is not fully cached locally (missing a.txt); run 'yard weights pull' first"""
    assert words in done.stderr
    assert not (project / ".cog" / "layers").exists()
    assert here("weights", "pull").returncode == 0
    assert here("push").returncode == 0


def _lock(project: Path) -> lock.Lock:
    found = lock.load(lock.path_of(project))
    assert found is not None
    return found


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
