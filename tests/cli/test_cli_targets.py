"""Where a push goes: what the argument, cog.yaml and the variables mean together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from modelyard.cli import targets
from modelyard.errors import UsageError
from modelyard.packaging import config
from modelyard.packaging.config import Config

HOSTS = {"r8.im", "127.0.0.1:9273", ""}


def written(folder: Path, line: str) -> Config:
    (folder / "cog.yaml").write_text(f'run: "run.py:run"\n{line}\n')
    return config.load(folder / "cog.yaml")


@pytest.mark.parametrize(
    ("named", "line", "environ", "wanted"),
    [
        ("yard/m", "", {}, "yard/m"),
        ("127.0.0.1:9273/yard/m", "", {}, "yard/m"),
        ("r8.im/yard/m", "model: yard/other", {}, "yard/m"),
        ("yard/m", "image: ghcr.io/a/b", {}, "yard/m"),
        ("ghcr.io/a/b", "", {}, "ghcr.io/a/b"),
        ("ghcr.io/a/b/c:v1", "image: ghcr.io/x/y", {}, "ghcr.io/a/b/c:v1"),
        ("localhost/b", "", {}, "localhost/b"),
        ("docker.io/a/b:v1", "", {}, "index.docker.io/a/b:v1"),
        (None, "image: ghcr.io/a/b", {}, "ghcr.io/a/b"),
        (None, "image: yard/m", {}, "yard/m"),
        (None, "model: ghcr.io/a/b", {}, "ghcr.io/a/b"),
        (None, "model: yard/m", {"COG_MODEL_TAG": "v1"}, "yard/m"),
        (None, "model: yard/m", {"COG_MODEL_REGISTRY": "ghcr.io", "COG_MODEL_TAG": "v1"}, "ghcr.io/yard/m:v1"),
        (None, "model: ghcr.io/a/b", {"COG_MODEL_REGISTRY": "127.0.0.1:9273"}, "a/b"),
        (None, "model: yard/m", {"COG_MODEL": "ghcr.io/c/d"}, "ghcr.io/c/d"),
        (None, "", {"COG_MODEL": "c/d"}, "c/d"),
        (None, "model: yard/m", {"COG_MODEL": ""}, "yard/m"),
    ],
)
def test_a_host_that_is_not_the_yards_is_another_registry(
    tmp_path: Path, named: str | None, line: str, environ: dict[str, str], wanted: str
) -> None:
    found = targets.find(named, written(tmp_path, line), HOSTS, environ)
    shown = found if isinstance(found, str) else f"{found.name}{f':{found.tag}' if found.tag else ''}"
    assert shown == wanted
    assert isinstance(found, str) == ("." not in wanted and "localhost" not in wanted)


@pytest.mark.parametrize(
    ("named", "line", "environ", "words"),
    [
        (None, "", {}, "you must either set the 'image' option"),
        (None, "", {"COG_MODEL_TAG": "v1"}, "cog.yaml says no `model`"),
        (None, "image: ghcr.io/a/b", {"COG_MODEL_TAG": "v1"}, "cannot be combined with COG_MODEL"),
        ("ghcr.io/a/b", "model: yard/m", {}, "positional image argument not supported with 'model' config"),
        ("ghcr.io/a/b@sha256:" + "0" * 64, "", {}, "and no digest"),
        ("ghcr.io/a/B", "", {}, "wanted: names of small letters"),
        ("127.0.0.1:9273/yard/m:v1", "", {}, "'127.0.0.1:9273/yard/m:v1'; wanted: OWNER/MODEL"),
        ("r8.im/yard/My_Model!", "", {}, "wanted: names of small letters"),
    ],
)
def test_what_goes_nowhere_is_refused(
    tmp_path: Path, named: str | None, line: str, environ: dict[str, str], words: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        targets.find(named, written(tmp_path, line), HOSTS, environ)
    assert caught.value.hint or "such as" in caught.value.detail or "digest" in caught.value.detail
