"""`yard push`: where a version goes, and what is said before anything is made."""

from __future__ import annotations

import json
import platform
import re
import sys
import time
from pathlib import Path

import pytest
from yard_process import Run, Server

from modelyard.packaging.recipe import architecture_of

RUN = (
    'from cog import BaseRunner\nclass Runner(BaseRunner):\n    def run(self, text: str) -> str:\n        return "."\n'
)


def project(folder: Path, *lines: str) -> None:
    (folder / "cog.yaml").write_text("\n".join(['run: "run.py:Runner"', *lines, ""]))
    (folder / "run.py").write_text(RUN)


def test_cog_yaml_says_where_to(yard: Run, server: Server, tmp_path: Path) -> None:
    project(tmp_path, f"image: {server.url.partition('://')[2]}/yard/by-its-host")
    done = yard("push", MODELYARD_URL=server.url, MODELYARD_TOKEN=server.token)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("yard/by-its-host:")


def test_what_it_suggests_can_be_typed_and_its_sizes_agree(yard: Run, server: Server, tmp_path: Path) -> None:
    project(tmp_path, "image: yard/suggests")
    (tmp_path / "run.py").write_text(
        "from cog import Input, Path\n"
        "def Runner(image: Path, steps: int = Input(ge=5), effect: str = Input(choices=['edges', 'blur']),"
        " names: list[str] = Input(), note: str = '') -> str:\n    return ''\n"
    )
    done = yard("push", MODELYARD_URL=server.url, MODELYARD_TOKEN=server.token)
    assert done.returncode == 0, done.stderr
    assert "  yard run yard/suggests -i image=@FILE -i steps=5 -i effect=edges -i 'names=[" in done.stderr
    assert '{"input": {"image": "https://example.org/file", "steps": 5, "effect": "edges", "names": [' in done.stderr
    assert "note" not in done.stderr
    sending, pushed = re.search(r"Sending (.+)", done.stderr), re.search(r"Pushed (.+) to ", done.stderr)
    assert sending is not None
    assert pushed is not None
    assert sending[1] == pushed[1]


def test_the_yard_takes_the_place_of_replicate(yard: Run, server: Server, tmp_path: Path) -> None:
    project(tmp_path, "image: r8.im/yard/from-replicate")
    done = yard("push", MODELYARD_URL=server.url, MODELYARD_TOKEN=server.token)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("yard/from-replicate:")


def test_an_image_and_variables_of_a_model_exclude_each_other(yard: Run, server: Server, tmp_path: Path) -> None:
    project(tmp_path, "image: yard/two-names")
    given = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token}
    done = yard("push", COG_MODEL_TAG="v1", **given)
    assert done.returncode == 2
    assert "'image' in cog.yaml cannot be combined with COG_MODEL* env vars" in done.stderr
    assert "Packing" not in done.stderr


def test_the_pushed_schema_is_left_where_cog_leaves_it(yard: Run, server: Server, tmp_path: Path) -> None:
    project(tmp_path, "image: yard/leaves-its-schema")
    assert yard("push", MODELYARD_URL=server.url, MODELYARD_TOKEN=server.token).returncode == 0
    text = (tmp_path / ".cog" / "openapi_schema.json").read_text()
    assert '"text":{"title":"Text","type":"string","x-order":0}' in text
    assert "\n" not in text


def test_what_the_text_does_not_say_is_asked_of_the_model_before_it_is_pushed(
    yard: Run, server: Server, tmp_path: Path
) -> None:
    project(tmp_path, "image: yard/asked-itself")
    asked = RUN.replace("text: str", "text: str = open('words.txt').read()")
    (tmp_path / "run.py").write_text(asked)
    done = yard("push", MODELYARD_URL=server.url, MODELYARD_TOKEN=server.token)
    assert done.returncode == 1
    assert "image build failed: parameter 'text': default `open('words.txt')` cannot be statically" in done.stderr
    assert "FileNotFoundError" in done.stderr
    (tmp_path / "words.txt").write_text("hello")
    done = yard("push", MODELYARD_URL=server.url, MODELYARD_TOKEN=server.token)
    assert done.returncode == 0, done.stderr
    assert "read by importing it in the model's environment" in done.stderr
    assert '"default":"hello"' in (tmp_path / ".cog" / "openapi_schema.json").read_text()


def test_a_version_without_a_base_is_pushed_and_says_so_and_how_to_give_one(
    yard: Run, server: Server, tmp_path: Path, home: Path
) -> None:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    project(tmp_path, "image: yard/without-a-base")
    # A registry that did not answer a moment ago is not asked again.
    key = f"docker.io/library/python:{own}-slim linux/{architecture_of(platform.machine())}"
    memory = home / ".cache" / "modelyard" / "images" / "bases.json"
    memory.parent.mkdir(parents=True)
    memory.write_text(json.dumps({key: {"failed": "the base image is far away", "at": time.time()}}))
    told = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token}
    done = yard("push", **told, MODELYARD_BASE_IMAGE="")
    assert done.returncode == 0, done.stderr
    assert "not as a container: the base image is far away\nhint: name one with --base-image REF" in done.stderr
    # Who wants one that is not there is not given a version without.
    done = yard("push", "--base-image", "127.0.0.1:1/x/y", **told)
    assert done.returncode == 1
    assert "error: the base image 127.0.0.1:1/x/y cannot be had" in done.stderr
    project(tmp_path, "image: yard/without-a-base", "build:", "  system_packages: [ffmpeg]")
    done = yard("push", **told, MODELYARD_BASE_IMAGE="")
    assert done.returncode == 0, done.stderr
    assert "not as a container: the base image is far away" in done.stderr


@pytest.mark.parametrize(
    ("lines", "arguments", "words"),
    [
        ((), (), "To push images, you must either set the 'image' option in cog.yaml"),
        ((), ("http://ghcr.io/yard/hello",), "wanted: HOST/owner/name, without http://"),
        ((), ("127.0.0.1:1/yard/hello:cog-x",), "tags that begin with `cog-` are reserved"),
        (("image: yard/a/b",), (), "`image` of cog.yaml is 'yard/a/b'; wanted: OWNER/MODEL"),
        (("image: yard/a:v1",), (), "leave the tag out"),
        (
            ("model: yard/big", "weights:", "  - name: w", "    target: /src/w", "    source: {uri: ./w}"),
            (),
            "weights.lock is out of sync with cog.yaml:",
        ),
    ],
)
def test_a_push_that_cannot_be_is_refused_before_anything_is_made(
    yard: Run, server: Server, tmp_path: Path, lines: tuple[str, ...], arguments: tuple[str, ...], words: str
) -> None:
    project(tmp_path, *lines)
    done = yard("push", *arguments, MODELYARD_URL=server.url, MODELYARD_TOKEN=server.token)
    assert done.returncode != 0
    assert words in done.stderr
    assert "hint: " in done.stderr or "such as" in done.stderr or "weights import" in done.stderr
    assert not (tmp_path / ".cog" / "layers").exists()
