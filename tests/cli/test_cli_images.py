"""Flags and commands that belong to images: scripts written for Cog meet no unknown option, and are told what is so."""

from __future__ import annotations

import platform
from pathlib import Path

import bases
import pytest
from yard_process import Run

from modelyard.cli import images
from modelyard.packaging.recipe import architecture_of

BUILD = (
    ("--no-cache",),
    ("--no-cache=false",),
    ("--openapi-schema", "schema.json"),
    ("--progress", "plain"),
    ("--secret", "id=a,src=b", "--secret", "id=c,env=D"),
    ("--separate-weights",),
    ("--use-cog-base-image=false",),
    ("--use-cog-base-image",),
    ("--use-cuda-base-image", "auto"),
    ("--use-cuda-base-image=false",),
    ("--timestamp", "-1"),
    ("--strip", "--precompile", "--skip-schema-validation"),
    ("-f", "cog.yaml", "--debug", "--no-color"),
)


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("build", ("-t", "name:tag")),
        ("build", ("-o", "x")),
        *[(name, flags) for name in ("build", "push") for flags in BUILD],
    ],
)
def test_build_and_push_take_the_flags_of_cog(command: str, flags: tuple[str, ...], yard: Run) -> None:
    done = yard(command, *flags, MODELYARD_URL="http://127.0.0.1:1", MODELYARD_TOKEN="r8_" + "x" * 37)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-2].startswith("error: cog.yaml not found in ")


def test_debug_takes_them_too(yard: Run, tmp_path: Path) -> None:
    flags = ("--image-name", "x", "--separate-weights", "--use-cog-base-image=false")
    yard("init", "fresh")
    done = yard("debug", *flags, cwd=tmp_path / "fresh")
    assert (done.returncode, done.stdout) == (0, "")
    assert "Nothing must be executed for this image" in done.stderr


def test_debug_prints_the_dockerfile_of_what_must_be_executed(yard: Run, tmp_path: Path) -> None:
    base = bases.small(tmp_path / "base", architecture=architecture_of(platform.machine()))
    packages = "[ffmpeg, libgl1]"
    (tmp_path / "cog.yaml").write_text(f'build:\n  python_version: "{bases.OWN}"\n  system_packages: {packages}\n')
    done = yard("debug", "--base-image", f"oci:{base}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("FROM modelyard/base:")
    assert "    apt-get -o Dpkg::Use-Pty=0 install -qqy ffmpeg libgl1; \\" in lines
    assert "#syntax" not in done.stdout


def test_debug_prints_each_command_of_the_project_as_a_step(yard: Run, tmp_path: Path) -> None:
    mount = "{type: secret, id: token, target: /etc/token}"
    run = f"[echo one, {{command: cat /etc/token, mounts: [{mount}]}}]"
    (tmp_path / "cog.yaml").write_text(f'build:\n  python_version: "{bases.OWN}"\n  run: {run}\n')
    done = yard("debug", "--precompile")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("FROM modelyard/environment:")
    assert lines[1:4] == [
        "USER root",
        "RUN echo one",
        "RUN --mount=type=secret,id=token,target=/etc/token cat /etc/token",
    ]
    assert lines[4].startswith("RUN python -m compileall ")


@pytest.mark.parametrize(
    ("python", "step"),
    [
        ("3.11", "    apt-get -o Dpkg::Use-Pty=0 install -qqy --no-install-recommends python3.11 ca-certificates; \\"),
        ("3.13", "COPY python /opt/modelyard/python"),
    ],
)
def test_debug_prints_how_an_image_with_cuda_gets_its_python(python: str, step: str, yard: Run, tmp_path: Path) -> None:
    build = f'build:\n  python_version: "{python}"\n  gpu: true\n  cuda: "12.4"\n  system_packages: [ffmpeg]\n'
    (tmp_path / "cog.yaml").write_text(build)
    done = yard("debug", "--use-cuda-base-image=true")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "FROM nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04"
    assert step in lines
    assert f"FROM modelyard/cuda:12.4.1-cudnn-devel-ubuntu22.04-python{python}" in lines


@pytest.mark.parametrize("command", ["build", "debug", "run", "serve", "exec", "train"])
def test_an_image_is_made_from_one_thing(command: str, yard: Run) -> None:
    words = ("true",) if command == "exec" else ()
    done = yard(command, "--use-cog-base-image=false", "--dockerfile", "D", *words)
    assert done.returncode == 2
    assert "error: --use-cog-base-image and --dockerfile cannot be given together" in done.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--progress", "loud"), "error: invalid value for '--progress': 'loud' is not one of"),
        (("--use-cog-base-image=perhaps",), "error: invalid value for '--use-cog-base-image': 'perhaps' is not a"),
        (("--use-cuda-base-image", "11"), "error: invalid value for '--use-cuda-base-image': '11' is not one of"),
    ],
)
def test_a_wrong_value_is_refused_although_nothing_uses_it(flags: tuple[str, ...], said: str, yard: Run) -> None:
    done = yard("run", *flags)
    assert done.returncode == 2
    assert done.stderr.startswith(said)


def test_gpus_are_found_by_their_devices(tmp_path: Path) -> None:
    assert not images.has_gpu(tmp_path)
    (tmp_path / "nvidiactl").touch()
    assert not images.has_gpu(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert images.has_gpu(tmp_path)


@pytest.mark.skipif(images.has_gpu(Path("/dev")), reason="this machine has a GPU")
def test_gpus_that_are_not_there_are_told_once(yard: Run, tmp_path: Path) -> None:
    yard("init", "fresh")
    done = yard("run", "--gpus", "3", cwd=tmp_path / "fresh")
    assert (done.returncode, done.stdout) == (0, "hello world\n")
    assert done.stderr.count("warning: --gpus 3: no GPU can be seen on this machine") == 1


def test_commands_that_run_here_take_the_flags_and_hide_them(yard: Run, tmp_path: Path) -> None:
    yard("init", "fresh")
    for flags in (
        ("--progress", "quiet", "--use-cog-base-image"),
        ("--use-cuda-base-image=auto", "--gpus", "all", "--debug", "--no-color"),
    ):
        done = yard("run", *flags, cwd=tmp_path / "fresh")
        assert (done.returncode, done.stdout) == (0, "hello world\n")
        assert "warning" not in done.stderr
    assert "warning: --dockerfile is for images" in yard("run", "--dockerfile", "D", cwd=tmp_path / "fresh").stderr
    for command in ("run", "serve", "exec"):
        shown = yard(command, "--help").stdout
        assert all(flag in shown for flag in ("--gpus", "--container", "--base-image", "--secret"))
        assert not [flag for flag in ("--progress", "--use-cog", "--use-cuda", "--dockerfile") if flag in shown]
