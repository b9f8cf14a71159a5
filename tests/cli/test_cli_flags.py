"""Cog's flags: every command takes those that scripts written for Cog give it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from yard_process import Run, Server

from modelyard.cli import main

IMAGE = ["--use-cog-base-image", "--use-cog-base-image=false", "--use-cuda-base-image=auto"]
LOCAL = [*IMAGE, "--progress=plain", "--dockerfile=Dockerfile", "--gpus=all", "-f cog.yaml", "--file cog.yaml"]
LOCAL += ["--container --base-image oci:base --secret id=key,src=key.txt --secret id=other,env=KEY"]
BUILD = [
    *IMAGE,
    "-f cog.yaml",
    "--file=cog.yaml",
    "--no-cache",
    "--no-cache=true",
    "--openapi-schema schema.json",
    "--progress auto",
    "--progress tty",
    "--progress plain",
    "--progress quiet",
    "--secret id=key,src=key.txt",
    "--secret id=key,env=KEY --secret id=other,source=key.txt,type=file",
    "--separate-weights",
    "--use-cuda-base-image=true",
    "--dockerfile Dockerfile",
    "--timestamp 0",
    "--strip",
    "--precompile",
    "--skip-schema-validation",
]
GLOBAL = ["--debug", "--no-color", "--profile", "--registry r8.im"]
RUN = [
    *LOCAL,
    "-i a=b",
    "--input a=b --input c=d",
    "--json {}",
    "-o out.png",
    "--output out.png",
    "-e A=b",
    "--env A=b",
    "--setup-timeout 300",
    "--use-replicate-token",
]
FLAGS = {
    "build": [*BUILD, "-t name", "--tag name"],
    "debug": [*BUILD, "--image-name name"],
    "push": [*BUILD, "yard/model"],
    "run": [*RUN, "-i a=b image"],
    "predict": RUN,
    "train": [*LOCAL, "-i a=b", "-o weights", "-e A=b", "image"],
    "exec": [f"{flags} true" for flags in [*LOCAL, "-e A=b", "-p 80", "-p 127.0.0.1:80 --publish 81"]],
    "serve": [
        *LOCAL,
        "-p 5000",
        "--port 5000",
        "--host 0.0.0.0",
        "--upload-url http://localhost/",
        "--playground",
        "--playground-port 9001",
    ],
    "playground": ["--target http://localhost:5000 --host 0.0.0.0 -p 9000", "--port 0 --no-open", "--webhook-host h"],
    "init": [""],
    "login": ["--token-stdin"],
    "doctor": ["--fix", "-f cog.yaml", "--file cog.yaml"],
}


def parse(name: str, words: Sequence[str]) -> None:
    """Parse a command's words, without running it. Raises click.UsageError."""
    context = click.Context(main.yard, info_name="yard")
    command = main.yard.get_command(context, name)
    assert command is not None
    command.make_context(name, list(words), parent=context)


@pytest.mark.parametrize(("name", "flags"), [(name, flags) for name, lines in FLAGS.items() for flags in lines])
def test_a_command_takes_the_flags_that_cogs_has(name: str, flags: str) -> None:
    parse(name, flags.split())


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("flag", GLOBAL)
def test_global_flags_may_follow_every_command(name: str, flag: str) -> None:
    parse(name, flag.split())


def test_global_flags_may_stand_before_a_command(yard: Run) -> None:
    words = [word for flag in GLOBAL for word in flag.split()]
    done = yard(*words, "completion", "bash", COG_NO_UPDATE_CHECK="1")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "flag"), [("run", "--timestamp=0"), ("run", "--no-cache"), ("serve", "-i"), ("exec", "-i"), ("push", "-t")]
)
def test_flags_of_other_commands_are_not_taken(name: str, flag: str) -> None:
    with pytest.raises(click.NoSuchOption):
        parse(name, [flag])


# What a push makes of them


PUSHED = (
    'from cog import BaseRunner\nclass Runner(BaseRunner):\n    def run(self, text: str) -> str:\n        return "."\n'
)


@pytest.fixture
def pushed(tmp_path: Path, server: Server) -> dict[str, str]:
    """A project that can be pushed, and the variables for it."""
    (tmp_path / "cog.yaml").write_text('run: "run.py:Runner"\nimage: r8.im/yard/flags\n')
    (tmp_path / "run.py").write_text(PUSHED)
    return {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token}


def test_flags_of_a_build_change_nothing_about_a_version(yard: Run, pushed: dict[str, str]) -> None:
    plain = yard("push", **pushed)
    assert plain.returncode == 0, plain.stderr
    flags = "--no-cache --progress plain --separate-weights --use-cog-base-image=false --timestamp 0"
    done = yard("push", *flags.split(), "--skip-schema-validation", **pushed)
    assert (done.returncode, done.stdout) == (0, plain.stdout)
    assert "warning" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--strip",), "warning: --strip does nothing: the packages are as they came"),
        (("--precompile",), "warning: --precompile does nothing for a version without a base"),
        (("--secret", "id=k,env=K"), "warning: --secret id=k: no command of build.run has a mount for it"),
    ],
)
def test_what_only_an_image_could_have_is_told(
    yard: Run, pushed: dict[str, str], flags: tuple[str, ...], said: str
) -> None:
    done = yard("push", *flags, **pushed)
    assert done.returncode == 0, done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (("--dockerfile", "Missing"), 2, "error: --dockerfile: Missing: No such file or directory"),
        (("--dockerfile", "D", "--use-cog-base-image"), 2, "--use-cog-base-image and --dockerfile cannot be given"),
        (("--secret", "id=k,colour=red"), 2, "--secret: unexpected key 'colour' in 'colour=red'"),
        (("--secret", "src=key.txt"), 2, "--secret has no id"),
        (("--secret", "id"), 2, "--secret: 'id' has no value"),
        (("--secret", "id=k,type=vault"), 2, "--secret: type is 'vault'; wanted: file or env"),
        (("--openapi-schema", "missing.json"), 1, "--openapi-schema: failed to read missing.json"),
    ],
)
def test_what_would_make_another_version_is_refused(
    yard: Run, pushed: dict[str, str], tmp_path: Path, flags: tuple[str, ...], status: int, said: str
) -> None:
    done = yard("push", *flags, **pushed)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert not (tmp_path / ".cog" / "layers").exists()


def test_a_given_schema_is_the_versions(yard: Run, pushed: dict[str, str], tmp_path: Path) -> None:
    done = yard("push", **pushed)
    schema = '{"components": {"schemas": {"Input": {"properties": {}}, "Output": {"type": "string"}}}}'
    (tmp_path / ".dockerignore").write_text("given.json\n")
    (tmp_path / "given.json").write_text(schema)
    again = yard("push", **pushed)
    given = yard("push", "--openapi-schema", "given.json", **pushed)
    assert given.returncode == 0, given.stderr
    assert given.stdout.split(":")[1] not in (done.stdout.split(":")[1], again.stdout.split(":")[1])


def test_a_registry_of_a_script_is_the_yard(yard: Run, pushed: dict[str, str]) -> None:
    flag = yard("push", "--registry", "127.0.0.1:1", "127.0.0.1:1/yard/flags", **pushed)
    assert flag.returncode == 0, flag.stderr
    variable = yard("push", "127.0.0.1:1/yard/flags", COG_REGISTRY_HOST="127.0.0.1:1", **pushed)
    assert variable.stdout == flag.stdout
    neither = yard("push", "127.0.0.1:1/yard/flags", **pushed)
    assert neither.returncode == 1
    assert "127.0.0.1:1 does not answer" in neither.stderr
