"""Flags and commands that belong to images: scripts written for Cog meet no unknown option, and are told what is so."""

from __future__ import annotations

from pathlib import Path

import pytest
from yard_process import Run

from modelyard.cli import images

BUILD = (
    ("-t", "name:tag"),
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
    ("--dockerfile", "Dockerfile"),
    ("--timestamp", "-1"),
    ("--strip", "--precompile", "--skip-schema-validation"),
    ("-f", "cog.yaml", "--debug", "--no-color"),
)


@pytest.mark.parametrize("flags", BUILD)
def test_build_takes_the_flags_of_cog_and_says_what_works_instead(flags: tuple[str, ...], yard: Run) -> None:
    done = yard("build", *flags)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: yard build comes with containers")
    assert "hint: yard push OWNER/NAME " in done.stderr


def test_debug_takes_them_too(yard: Run) -> None:
    done = yard("debug", "--image-name", "x", "--separate-weights", "--use-cog-base-image=false")
    assert done.returncode == 1
    assert done.stderr.startswith("error: yard debug comes with containers")


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
        assert "--gpus" in shown
        assert not [flag for flag in ("--progress", "-image", "--dockerfile", "--container") if flag in shown]
