"""A base with CUDA: NVIDIA's image, which the engine gives a Python. A small Debian stands in for it under its name."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import bases
import docker_images
import pytest
from yard_process import Run

from modelyard.cli import steps

# The first of these on a machine makes a Debian, which takes a minute or two.
pytestmark = pytest.mark.timeout(600)
NAME = f"modelyard-test/cuda-{os.getpid()}"
MARK = f"modelyard-test.cuda={os.getpid()}"
TAG = "12.4.1-cudnn-devel-ubuntu22.04"
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
# Nobody names a base.
DEFAULT = {"MODELYARD_BASE_IMAGE": ""}


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[str]:
    """An image under the name of NVIDIA's."""
    bases.require_engine()
    name = f"nvidia/cuda:{TAG}"
    text = f"FROM {docker_images.base()}\nENV NVIDIA_VISIBLE_DEVICES=all CUDA_VERSION=12.4.1\nLABEL {MARK}\n"
    text += "RUN mkdir -p /usr/local/cuda && echo 12.4.1 > /usr/local/cuda/version.txt\n"
    docker_images.build(text, {}, {}, name)
    yield name
    # All that was made on it has its label.
    made = docker_images.docker("images", "--quiet", "--filter", f"label={MARK}").split()
    subprocess.run(["docker", "rmi", "-f", *made, *steps.names(tmp_path)], capture_output=True, check=False)


@pytest.fixture
def brought(tmp_path: Path) -> dict[str, str]:
    """Where uv finds a Python 3.13: on this disk."""
    program = tmp_path / "python" / "bin" / "python3.13"
    for folder in (program.parent, tmp_path / "python" / "lib" / "python3.13"):
        folder.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    told = tmp_path / "python" / "lib" / "python3.13" / f"_sysconfigdata__linux_{platform.machine()}-linux-gnu.py"
    head = "# system configuration generated and used by the sysconfig module"
    told.write_text(f'{head}\nbuild_time_vars = {{\n    "prefix": "/install"\n}}\n')
    packed = tmp_path / "python.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(tmp_path / "python", "python")
    shutil.rmtree(tmp_path / "python")
    machine = platform.machine()
    known = {"name": "cpython", "arch": {"family": machine, "variant": None}, "os": "linux", "libc": "gnu"}
    known |= {"major": 3, "minor": 13, "patch": 9, "prerelease": "", "variant": None, "build": "1"}
    known |= {"url": packed.as_uri(), "sha256": hashlib.sha256(packed.read_bytes()).hexdigest()}
    (tmp_path / "pythons.json").write_text(json.dumps({f"cpython-3.13.9-linux-{machine}-gnu": known}))
    return {"UV_PYTHON_DOWNLOADS_JSON_URL": str(tmp_path / "pythons.json")}


def write(folder: Path, **build: object) -> None:
    build = {"python_version": "3.11", "gpu": True, "cuda": "12.4", **build}
    (folder / "cog.yaml").write_text(json.dumps({"build": build, "run": "run.py:run"}))
    (folder / "run.py").write_text("def run(text: str) -> str:\n    return text\n")


def test_a_model_that_brings_no_cuda_is_put_on_nvidias_image(yard: Run, tmp_path: Path, stand_in: str) -> None:
    write(tmp_path, system_packages=["hello"], run=["python --version > /which.txt"])
    done = yard("build", "-t", NAME, **DEFAULT)
    assert done.returncode == 0, done.stderr
    assert f"Preparing {stand_in} with Python 3.11 in the Docker Engine\n" in done.stderr
    script = "cat /usr/local/cuda/version.txt /which.txt; hello; echo $CUDA_VERSION; python -c 'import cog'"
    said = docker_images.docker("run", "--rm", NAME, "sh", "-c", script).splitlines()
    assert said[0] == "12.4.1"
    assert said[1].startswith("Python 3.11.")
    assert said[2:] == ["Hello, world!", "12.4.1"]
    # What this machine lent is gone.
    assert "/dev/modelyard" not in docker_images.docker("inspect", NAME)
    # It is a base as any other now, for which no engine is needed; and who insists gets the same.
    made = set()
    for flags in ((), ("--use-cuda-base-image=true",)):
        done = yard("build", "-t", NAME, "-o", "out", *flags, **DEFAULT, **NO_ENGINE)
        assert done.returncode == 0, done.stderr
        made.add((tmp_path / "out" / "index.json").read_text())
        shutil.rmtree(tmp_path / "out")
    assert len(made) == 1


def test_a_build_without_a_cache_leaves_no_image_of_the_one_before(yard: Run, tmp_path: Path, stand_in: str) -> None:
    write(tmp_path, system_packages=["hello"], run=["date > /when.txt"])
    for _ in range(2):
        done = yard("build", "-t", NAME, "-o", "out", "--no-cache", **DEFAULT)
        assert done.returncode == 0, done.stderr
    ours = ["--filter", f"label={MARK}", "--filter", "dangling=true"]
    assert docker_images.docker("images", "--quiet", *ours) == ""


def test_a_model_whose_packages_bring_cuda_needs_no_such_image(yard: Run, tmp_path: Path) -> None:
    write(tmp_path, python_packages=["nvidia-cuda-runtime-cu12==12.4.127"])
    base = bases.small(tmp_path / "base", "/usr/bin/python3.11 3.11")
    done = yard("build", "-t", NAME, "-o", "out", MODELYARD_BASE_IMAGE=f"oci:{base}", **NO_ENGINE)
    assert done.returncode == 0, done.stderr
    done = yard("build", "-t", NAME, "-o", "out", **DEFAULT, **NO_ENGINE)
    assert "nvidia/cuda" not in done.stderr


def test_where_it_cannot_be_had_the_image_is_on_another_base_and_it_is_said(yard: Run, tmp_path: Path) -> None:
    write(tmp_path)
    done = yard("build", "-t", NAME, "-o", "out", **DEFAULT, **NO_ENGINE)
    told = f"cog.yaml: build.gpu wants nvidia/cuda:{TAG} with a Python in it, which needs a Docker Engine"
    # Nothing is compiled, so that the smaller image is enough, unless somebody insists.
    smaller = told.replace("devel", "runtime")
    assert f"warning: the image has no CUDA but what the model's packages bring: {smaller}" in done.stderr
    done = yard("build", "-t", NAME, "-o", "out", "--use-cuda-base-image=true", **DEFAULT, **NO_ENGINE)
    assert done.returncode == 1
    assert f"error: {told}" in done.stderr
    done = yard("build", "-t", NAME, "-o", "out", "--use-cuda-base-image=false", **DEFAULT, **NO_ENGINE)
    assert "CUDA" not in done.stderr


def test_a_model_without_a_gpu_gets_none(yard: Run, tmp_path: Path) -> None:
    write(tmp_path, gpu=False)
    done = yard("build", "--use-cuda-base-image=true", **NO_ENGINE)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: --use-cuda-base-image=true is for models that use a GPU" in done.stderr
    done = yard("build", "--use-cuda-base-image=true", "--base-image", "oci:x", **NO_ENGINE)
    assert "--use-cuda-base-image=true and --base-image cannot be given together" in done.stderr


def test_a_python_that_ubuntu_does_not_have_is_brought_by_uv(
    yard: Run, tmp_path: Path, stand_in: str, brought: dict[str, str]
) -> None:
    """What is brought here is no Python but a text; where it lies is what counts."""
    write(tmp_path, python_version="3.13")
    done = yard("build", "-t", NAME, "--use-cuda-base-image=true", **DEFAULT, **brought)
    assert done.returncode == 0, done.stderr
    folder = "/opt/modelyard/python"
    script = f"cat {folder}/bin/python3.13; readlink /opt/model/bin/python; cat {folder}/lib/python3.13/_sysconfig*"
    told = docker_images.docker("run", "--rm", NAME, "sh", "-c", script).splitlines()
    assert told[:3] == ["#!/bin/sh", "exit 0", f"{folder}/bin/python3.13"]
    assert f'    "prefix": "{folder}"' in told
