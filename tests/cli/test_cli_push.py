"""`yard push`: where a version goes, and what is said before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from yard_process import Run, Server

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


def test_the_yard_takes_the_place_of_replicate(yard: Run, server: Server, tmp_path: Path) -> None:
    project(tmp_path, "image: r8.im/yard/from-replicate")
    done = yard("push", MODELYARD_URL=server.url, MODELYARD_TOKEN=server.token)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("yard/from-replicate:")


@pytest.mark.parametrize(
    ("lines", "arguments", "words"),
    [
        ((), (), "To push images, you must either set the 'image' option in cog.yaml"),
        ((), ("ghcr.io/yard/hello",), "'ghcr.io/yard/hello' is in the registry ghcr.io"),
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
