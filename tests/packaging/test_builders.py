"""The builder without containers: the same project is the same version; what did not change is not made again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.oci import manifest as oci
from modelyard.oci.unpack import unpack
from modelyard.packaging import ignore, recipe
from modelyard.packaging.builders import venv
from modelyard.packaging.builders.base import Artifact, Context
from modelyard.packaging.recipe import Facts, Recipe, SourceFile
from modelyard.store.environments import Lock

FACTS = Facts(config={}, schema={}, lock=Lock(text="", python="3.11"), ref="run.py:run")


def project(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "run.py").write_text("def run() -> str:\n    return 'hello'\n")
    (folder / "sub" / "data.txt").write_text("data")
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 4 * 10240)
    return folder


def plan(root: Path) -> Recipe:
    files = [SourceFile(path=path, size=(root / path).lstat().st_size) for path in ignore.walk(root)]
    return recipe.plan(root, files, FACTS, version="1", machine="x86_64")


def build(root: Path, said: list[str] | None = None) -> Artifact:
    lines = said if said is not None else []
    return venv.build(plan(root), Context(cache=root / ".cog" / "layers"), lines.append)


def settle(root: Path) -> None:
    """Let what was just written become older than the clock's grain, as the builder wants before it trusts times."""
    time.sleep(0.12)


def test_the_same_project_is_the_same_version_in_another_folder_at_another_time(tmp_path: Path) -> None:
    one, two = project(tmp_path / "one"), project(tmp_path / "other" / "two")
    os.utime(two / "run.py", (1, 1))
    assert build(one).digest == build(two).digest
    assert build(one).manifest_bytes == build(two).manifest_bytes


def test_a_large_file_is_a_layer_of_its_own_below_the_source(tmp_path: Path) -> None:
    artifact = build(project(tmp_path / "p"))
    weights, source = artifact.layers
    assert weights.descriptor.media_type == oci.LAYER_TAR
    assert weights.path == tmp_path / "p" / "weights.bin"
    assert source.descriptor.media_type == oci.LAYER_GZIP
    for layer in artifact.layers:
        (tmp_path / "layer").write_bytes(b"".join(layer.chunks()))
        unpack(tmp_path / "layer", tmp_path / "out", below="src")
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["data.txt", "run.py", "sub", "weights.bin"]
    assert (tmp_path / "out" / "weights.bin").read_bytes() == (tmp_path / "p" / "weights.bin").read_bytes()


def test_manifest_and_configuration_agree(tmp_path: Path) -> None:
    artifact = build(project(tmp_path / "p"))
    found = oci.parse(artifact.manifest_bytes)
    assert isinstance(found, oci.Manifest)
    assert found == artifact.manifest
    assert found.config.digest == oci.digest_of(artifact.config_bytes)
    config = oci.parse_config(artifact.config_bytes)
    assert config.diff_ids == tuple(layer.diff_id for layer in artifact.layers)
    assert config.working_dir == "/src"


def test_what_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    settle(root)
    said: list[str] = []
    first = build(root, said)
    assert said == ["Reading weights.bin", "Packing 3 files"]
    assert build(root, said).digest == first.digest
    assert len(said) == 2
    (root / "run.py").write_text("def run() -> str:\n    return 'other'\n")
    second = build(root, said)
    assert said[2:] == ["Packing 3 files"]
    assert second.digest != first.digest
    assert second.layers[0].descriptor == first.layers[0].descriptor


def test_a_change_right_after_a_build_is_seen_however_equal_the_file_looks(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    digests = set()
    for number in range(10):
        (root / "run.py").write_text(f"def run() -> str:\n    return 'hell{number}'\n")
        digests.add(build(root).digest)
    assert len(digests) == 10


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"a": 1}', '{"a": {"digest": 1}}'])
def test_a_broken_cache_is_made_again(tmp_path: Path, broken: str) -> None:
    root = project(tmp_path / "p")
    settle(root)
    first = build(root)
    (root / ".cog" / "layers" / "index.json").write_text(broken)
    assert build(root).digest == first.digest
    shutil.rmtree(root / ".cog")
    assert build(root).digest == first.digest


def test_a_lost_archive_is_made_again(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    settle(root)
    first = build(root)
    for path in (root / ".cog" / "layers").glob("*.tar.gz"):
        path.unlink()
    again = build(root)
    assert again.digest == first.digest
    assert oci.digest_of(b"".join(again.layers[-1].chunks())) == first.layers[-1].descriptor.digest


def test_what_was_built_can_be_sent_though_another_state_was_built_since(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    artifacts = []
    for number in range(3):
        (root / "run.py").write_text(f"# {number}")
        settle(root)
        artifacts.append(build(root))
        artifacts.append(build(root))  # from what is kept
    for artifact in artifacts:
        source = artifact.layers[-1]
        assert oci.digest_of(b"".join(source.chunks())) == source.descriptor.digest
        assert b"".join(source.chunks(100)) == b"".join(source.chunks())[100:]


BUILDS = """
import sys, time
from pathlib import Path
from modelyard.oci import manifest as oci
from tests.packaging.test_builders import build
root, name, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for number in range(rounds):
    fresh = root.parent / name
    fresh.write_text(f"# {name} {number:03}\\n" * 20_000)
    fresh.replace(root / "run.py")  # always whole and as long, so that nobody packs half of it
    built = build(root).layers[-1]
    time.sleep(0.005)
    data = b"".join(built.chunks())
    assert (oci.digest_of(data), len(data)) == (built.descriptor.digest, built.descriptor.size), (name, number)
"""


def test_several_may_build_in_one_folder_at_once(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    here = Path(__file__).parents[2]
    builders = [
        subprocess.Popen([sys.executable, "-c", BUILDS, str(root), name, "40"], cwd=here, stderr=subprocess.PIPE)
        for name in "abc"
    ]
    for builder in builders:
        _, said = builder.communicate(timeout=120)
        assert builder.returncode == 0, said.decode()
    assert len(list((root / ".cog" / "layers").glob("*.tar.gz*"))) == 1


def test_an_archive_that_a_killed_build_left_goes_with_the_next(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    build(root)
    left, busy = (root / ".cog" / "layers" / f"packing-{name}.tar.gz" for name in ("left", "busy"))
    for path in (left, busy):
        path.write_bytes(b"half")
    os.utime(left, (1, 1))
    (root / "run.py").write_text("# changed")
    build(root)
    assert busy.exists()
    assert not left.exists()


def test_only_the_last_archive_is_kept(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    for number in range(3):
        (root / "run.py").write_text(f"# {number}")
        build(root)
    assert len(list((root / ".cog" / "layers").glob("*.tar.gz"))) == 1


def test_another_lock_is_another_version_with_the_same_layers(tmp_path: Path) -> None:
    root = project(tmp_path / "p")
    first = build(root)
    other = replace(plan(root), labels={**plan(root).labels, "org.modelyard.lock": "six==1.17.0\n"})
    second = venv.build(other, Context(cache=tmp_path / "cache"), lambda _: None)
    assert second.digest != first.digest
    assert [layer.descriptor for layer in second.layers] == [layer.descriptor for layer in first.layers]
