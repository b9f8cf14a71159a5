"""The builder of images that run by themselves: the same inputs are the same image; a change moves what it changed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import bases
import pytest

from modelyard.oci import labels
from modelyard.oci.layers import Layer
from modelyard.oci.layout import Layout
from modelyard.oci.manifest import LAYER_KIND, LAYER_TAR, Config, parse_config
from modelyard.packaging import base, ignore, recipe
from modelyard.packaging.base import Base, BaseError
from modelyard.packaging.builders import oci
from modelyard.packaging.builders.base import Artifact, Context
from modelyard.packaging.recipe import Facts, Placed, SourceFile, Standing
from modelyard.store.environments import Lock

ARCHITECTURE = recipe.architecture_of(platform.machine())
SIX = "six==1.17.0\n"


def load(folder: Path) -> Base:
    layout = Layout(folder)
    descriptor, manifest = layout.image(None, f"linux/{ARCHITECTURE}")
    config = parse_config(layout.read(manifest.config))
    return base.of("oci:somewhere", descriptor.digest, manifest, config, layout.path)


@pytest.fixture(scope="session")
def on(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A base that nobody runs."""
    label = {base.PYTHON_LABEL: f"/usr/bin/python{bases.OWN} {bases.OWN}", "maintainer": "me"}
    config = Config(architecture=ARCHITECTURE, labels=label, environment=("PATH=/bin", "LANG=C"), user="nobody")
    return load(bases.write(tmp_path_factory.mktemp("base"), config)[0])


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one user has of layers."""
    return tmp_path_factory.mktemp("images")


def project(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "run.py").write_text("def run() -> str:\n    return 'hello'\n")
    (folder / "sub" / "data.txt").write_text("data")
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 4 * 10240)
    return folder


def build(root: Path, on: Base, kept: Path, said: list[str] | None = None, **standing: Any) -> Artifact:
    files = [SourceFile(path=path, size=(root / path).lstat().st_size) for path in ignore.walk(root)]
    facts = Facts(
        config={"build": {}},
        schema={"openapi": "3.0.2"},
        lock=Lock(text=SIX, python=bases.OWN),
        ref="run.py:run",
        concurrency=3,
        environment=("MINE=1",),
        standing=Standing(base=on, **standing),
    )
    planned = recipe.plan(root, files, facts, version="1", machine=platform.machine())
    context = Context(cache=root / ".cog" / "layers", images=kept, machine=platform.machine(), environ=dict(os.environ))
    return oci.build(planned, context, (said if said is not None else []).append)


def kinds(artifact: Artifact) -> list[str]:
    return [layer.descriptor.annotations[LAYER_KIND] for layer in artifact.layers]


def names(layer: Layer) -> set[str]:
    with tarfile.open(layer.path) as archive:
        return set(archive.getnames())


def test_what_changes_most_lies_on_top(tmp_path: Path, on: Base, kept: Path) -> None:
    artifact = build(project(tmp_path / "p"), on, kept)
    assert kinds(artifact) == ["base", "server", "box", "environment", "weights", "source"]
    assert artifact.layers[0].descriptor.digest == on.layers[0].descriptor.digest
    assert artifact.layers[4].descriptor.media_type == LAYER_TAR
    assert len(artifact.manifest.layers) == len(parse_config(artifact.config_bytes).diff_ids)


def test_the_layers_hold_what_runs_the_model(tmp_path: Path, on: Base, kept: Path) -> None:
    artifact = build(project(tmp_path / "p"), on, kept)
    _, server, box, model, _, source = map(names, [*artifact.layers[:4], artifact.layers[3], artifact.layers[5]])
    packages = f"lib/python{bases.OWN}/site-packages"
    assert {"opt/modelyard/env/bin/python", f"opt/modelyard/env/{packages}/uvicorn"} <= server
    assert {"opt/modelyard/box/cog/__init__.py", "opt/modelyard/box/modelyard_runner/worker.py"} <= box
    assert {f"opt/model/{packages}/six.py", "opt/model/pyvenv.cfg", "opt/model/bin/python3"} <= model
    assert source == {"src/run.py", "src/sub", "src/sub/data.txt"}
    assert not [name for name in server | box | model if name.endswith(".pyc") or "__pycache__" in name]


def test_the_configuration_serves_the_model_and_keeps_what_the_base_says(tmp_path: Path, on: Base, kept: Path) -> None:
    config = parse_config(build(project(tmp_path / "p"), on, kept).config_bytes)
    assert config.environment == (
        "PATH=/opt/model/bin:/bin",
        "LANG=C",
        "PYTHONUNBUFFERED=1",
        "PYTHONPATH=/opt/modelyard/box",
        "MODELYARD_SERVER_PYTHON=/opt/modelyard/env/bin/python",
        "NVIDIA_DRIVER_CAPABILITIES=all",
        "COG_PREDICT_TYPE_STUB=run.py:run",
        "COG_MAX_CONCURRENCY=3",
        "MINE=1",
    )
    assert (config.command, config.ports, config.working_dir) == (oci.COMMAND, ("5000/tcp",), "/src")
    assert (config.user, config.labels["maintainer"]) == ("nobody", "me")
    assert config.created == "1970-01-01T00:00:00Z"


def test_the_labels_are_those_that_cog_writes_and_ours(tmp_path: Path, on: Base, kept: Path) -> None:
    told = {labels.REVISION: "abc", labels.IMAGE_VERSION: "v1"}
    found = parse_config(build(project(tmp_path / "p"), on, kept, labels=told).config_bytes).labels
    assert found["run.cog.config"] == '{"build":{}}'
    assert found["run.cog.openapi_schema"] == found["org.cogmodel.openapi_schema"] == '{"openapi":"3.0.2"}'
    assert found["run.cog.pip_freeze"].splitlines()[:-1] == ["six==1.17.0"]
    assert found["run.cog.has_init"] == "true"
    assert (found["org.opencontainers.image.revision"], found["org.opencontainers.image.version"]) == ("abc", "v1")
    assert found["org.modelyard.box"] == oci.VERSION
    assert found["org.modelyard.layers"] == "base server box environment weights source"
    assert found["org.modelyard.python"] == bases.OWN
    assert found["org.opencontainers.image.base.digest"] == on.digest
    assert "org.opencontainers.image.base.name" not in found  # it lies in a folder of this machine


def test_a_base_of_a_registry_is_named(tmp_path: Path, on: Base, kept: Path) -> None:
    found = parse_config(build(project(tmp_path / "p"), replace(on, ref="python:3.12"), kept).config_bytes).labels
    assert found["org.opencontainers.image.base.name"] == "python:3.12"


AGAIN = """
import os, sys
from pathlib import Path
os.umask(0o077)
sys.path[:0] = sys.argv[4:]
import test_image_builder as made
print(made.build(Path(sys.argv[1]), made.load(Path(sys.argv[2])), Path(sys.argv[3])).digest)
"""


def test_the_same_project_is_the_same_image_wherever_and_whenever_it_is_built(
    tmp_path: Path, on: Base, kept: Path
) -> None:
    """Another folder, other times, another umask, another base folder, and nothing that was made before."""
    one = build(project(tmp_path / "one"), on, kept)
    two = project(tmp_path / "other" / "two")
    os.utime(two / "run.py", (1, 1))
    other = on.layers[0].path.parent.parent.parent
    tests = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", AGAIN, str(two), str(other), str(tmp_path / "images"), str(tests), str(tests.parent)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(tmp_path), "TZ": "Asia/Tokyo"},
    )
    assert done.stdout.strip() == one.digest, done.stderr


def test_a_change_of_the_code_makes_a_layer_of_source_and_nothing_else(tmp_path: Path, on: Base, kept: Path) -> None:
    root = project(tmp_path / "p")
    time.sleep(0.12)  # what was just written is not trusted
    before = build(root, on, kept)
    said: list[str] = []
    (root / "run.py").write_text("def run() -> str:\n    return 'other'\n")
    after = build(root, on, kept, said)
    assert before.layers[:-1] == after.layers[:-1]
    assert before.layers[-1].descriptor.digest != after.layers[-1].descriptor.digest
    assert said == ["Packing 3 files"]


def test_what_dockerignore_names_stays_out(tmp_path: Path, on: Base, kept: Path) -> None:
    root = project(tmp_path / "p")
    (root / ".dockerignore").write_text("sub\n*.bin\n")
    artifact = build(root, on, kept)
    assert "weights" not in kinds(artifact)
    assert names(artifact.layers[-1]) == {"src/.dockerignore", "src/run.py"}


def test_managed_weights_lie_at_their_targets_large_ones_in_layers_of_their_own(
    tmp_path: Path, on: Base, kept: Path
) -> None:
    (tmp_path / "large").write_bytes(b"x" * recipe.WEIGHTS_BYTES)
    (tmp_path / "small").write_bytes(b"y")
    placed = [
        Placed(name="/weights/a.bin", path=tmp_path / "large", size=recipe.WEIGHTS_BYTES, digest="sha256:1"),
        Placed(name="/weights/b.txt", path=tmp_path / "small", size=1, digest="sha256:2"),
    ]
    artifact = build(project(tmp_path / "p"), on, kept, placed=placed)
    assert kinds(artifact)[4:] == ["weights", "placed-weights", "placed-weights", "source"]
    assert names(artifact.layers[5]) == {"weights/b.txt"}
    assert artifact.layers[6].head[:13] == b"weights/a.bin"


# Which Python a base has


@pytest.mark.parametrize(
    ("config", "python", "minor"),
    [
        (Config(labels={base.PYTHON_LABEL: "/usr/bin/python3.11 3.11"}), "/usr/bin/python3.11", "3.11"),
        (Config(environment=("PYTHON_VERSION=3.13.2",)), "/usr/local/bin/python", "3.13"),
    ],
)
def test_the_python_of_a_base_is_in_its_label_or_its_environment(
    tmp_path: Path, config: Config, python: str, minor: str
) -> None:
    found = load(bases.write(tmp_path, replace(config, architecture=ARCHITECTURE))[0])
    assert (found.target.python, found.target.minor) == (python, minor)


def test_a_base_that_does_not_say_which_python_it_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="does not say which Python it has") as caught:
        load(bases.write(tmp_path, Config(architecture=ARCHITECTURE))[0])
    assert 'LABEL org.modelyard.python="/usr/bin/python3.11 3.11"' in str(caught.value.hint)


def test_a_base_with_another_python_is_refused(on: Base) -> None:
    with pytest.raises(BaseError, match=rf"has Python {bases.OWN}; wanted: Python 3.9"):
        base.check(on, "3.9", ARCHITECTURE)


def test_a_base_for_another_machine_is_refused(on: Base) -> None:
    with pytest.raises(BaseError, match=f"is for linux/{ARCHITECTURE}; wanted: linux/riscv64"):
        base.check(on, bases.OWN, "riscv64")
