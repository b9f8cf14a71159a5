"""`yard build` without an engine: what it writes, where it looks for a base, and what it cannot do."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import bases
import pytest
import weights_project
from weights_servers import serving
from yard_process import Run

from modelyard.oci.layout import Layout
from modelyard.oci.manifest import INDEX, MANIFEST, Index, digest_of, parse_config, render_index
from modelyard.packaging.recipe import architecture_of

ARCHITECTURE = architecture_of(platform.machine())
PLATFORM = f"linux/{ARCHITECTURE}"
LABEL = f"/usr/bin/python{bases.OWN} {bases.OWN}"
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base that nobody runs."""
    return bases.small(tmp_path / "base", architecture=ARCHITECTURE)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "My Model"
    folder.mkdir()
    (folder / "run.py").write_text("def run(text: str) -> str:\n    return text\n")
    write(folder)
    return folder


def write(folder: Path, *lines: str, python: str = bases.OWN) -> None:
    text = f'build:\n  python_version: "{python}"\n' + "".join(f"  {line}\n" for line in lines)
    (folder / "cog.yaml").write_text(text + 'run: "run.py:run"\n')


def config_of(folder: Path, name: str | None = None) -> Any:
    layout = Layout(folder)
    return parse_config(layout.read(layout.image(name, PLATFORM)[1].config))


def test_a_layout_is_written_to_a_folder(yard: Run, project: Path, base: Path) -> None:
    done = yard("build", "-o", "out", "--base-image", f"oci:{base}", cwd=project)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == "Building Docker image from environment in cog.yaml as cog-my-model..."
    assert lines[-2:] == ["Wrote an OCI layout: out", "Image built as cog-my-model"]
    found = config_of(project / "out", "cog-my-model:latest")
    assert json.loads(found.labels["run.cog.config"])["predict"] == "run.py:run"
    layout = Layout(project / "out")
    assert all(layout.has(layer) for layer in layout.image(None, PLATFORM)[1].layers)
    assert not (project / "out" / "blobs" / "sha256" / "x").exists()


def test_an_archive_is_written_to_a_file(yard: Run, project: Path, base: Path) -> None:
    done = yard("build", "-t", "me/m:1", "-o", "m.tar", "--base-image", f"oci:{base}:latest", cwd=project)
    assert done.returncode == 0, done.stderr
    with tarfile.open(project / "m.tar") as archive:
        listed = archive.extractfile("manifest.json")
        assert listed is not None
        assert json.load(listed)[0]["RepoTags"] == ["me/m:1"]
        assert {"oci-layout", "index.json"} <= set(archive.getnames())


def test_two_builds_in_two_folders_are_one_image(yard: Run, project: Path, base: Path, tmp_path: Path) -> None:
    project.rename(tmp_path / "other")
    digests = set()
    for folder in (tmp_path / "other", tmp_path / "third"):
        if not folder.exists():
            (tmp_path / "other").rename(folder)
        done = yard("build", "-t", "m", "-o", "../out", "--base-image", f"oci:{base}", "--no-cache", cwd=folder)
        assert done.returncode == 0, done.stderr
        digests.add(Layout(tmp_path / "out").image(None, PLATFORM)[0].digest)
    assert len(digests) == 1


def test_without_an_engine_it_is_said_where_the_image_is_kept(yard: Run, project: Path, base: Path, home: Path) -> None:
    done = yard("build", "-t", "m", "--base-image", f"oci:{base}", cwd=project, **NO_ENGINE)
    assert done.returncode == 0, done.stderr
    kept = home / ".cache" / "modelyard" / "images"
    assert "There is no Docker Engine " in done.stderr
    assert f", so the image is kept in the OCI layout {kept}\n" in done.stderr
    assert f"skopeo copy oci:{kept}:m:latest docker://REGISTRY/NAME" in done.stderr
    assert config_of(kept, "m:latest").labels["run.cog.has_init"] == "true"


def test_an_engine_that_somebody_named_and_that_does_not_answer_is_told_by_its_name(
    yard: Run, project: Path, base: Path, home: Path
) -> None:
    if shutil.which("docker") is None:
        pytest.skip("there is no docker program here")
    build = ("build", "-t", "m", "--base-image", f"oci:{base}")
    for host in ("foo.invalid", "tcp://127.0.0.1:1"):
        done = yard(*build, cwd=project, DOCKER_HOST=host)
        assert f"There is no Docker Engine at DOCKER_HOST={host}, so the image is kept" in done.stderr
        done = yard("run", "some-image", cwd=project, DOCKER_HOST=host)
        assert f"needs a Docker Engine, and none answers at DOCKER_HOST={host}\nhint: start it; or unset" in done.stderr
    subprocess.run(
        ["docker", "context", "create", "far", "--docker", "host=tcp://127.0.0.1:1"],
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
    )
    told = "There is no Docker Engine at tcp://127.0.0.1:1, docker's context 'far', so the image is kept"
    assert told in yard(*build, cwd=project, DOCKER_CONTEXT="far").stderr
    (home / ".docker" / "config.json").write_text('{"currentContext": "far"}')
    assert told in yard(*build, cwd=project).stderr
    done = yard(*build, cwd=project, DOCKER_CONTEXT="gone")
    assert "There is no Docker Engine in docker's context 'gone', which does not exist, so" in done.stderr


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("nope/x.tar", "nope/x.tar: No such file or directory\nhint: mkdir -p "),
        ("run.py/x.tar", "run.py/x.tar: Not a directory"),
        ("run.py/x", "run.py/x: Not a directory"),
        ("run.py", "run.py: Not a directory"),
        ("folder.tar", "folder.tar: Is a directory"),
    ],
)
def test_an_output_that_cannot_be_written_is_told_before_anything_is_made(
    yard: Run, project: Path, base: Path, output: str, said: str
) -> None:
    (project / "folder.tar").mkdir()
    done = yard("build", "-o", output, "--base-image", f"oci:{base}", cwd=project)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --output: {said}")


def test_the_schema_that_is_given_is_the_images(yard: Run, project: Path, base: Path) -> None:
    schemas = {name: {"title": name, "type": "object", "properties": {}} for name in ("Input", "Output")}
    (project / "s.json").write_text(json.dumps({"openapi": "3.0.2", "components": {"schemas": schemas}}))
    done = yard("build", "--openapi-schema", "s.json", "-o", "out", "--base-image", f"oci:{base}", cwd=project)
    assert done.returncode == 0, done.stderr
    assert json.loads(config_of(project / "out").labels["run.cog.openapi_schema"])["components"]["schemas"] == schemas
    done = yard("build", "--openapi-schema", "no.json", cwd=project)
    assert "error: --openapi-schema: failed to read no.json: No such file or directory" in done.stderr


def test_what_is_written_into_the_project_is_no_part_of_the_next_image(yard: Run, project: Path, base: Path) -> None:
    digests, told = set(), []
    for output in ("out", "m.tar", "out", "../out"):
        done = yard("build", "-t", "m", "-o", output, "--base-image", f"oci:{base}", cwd=project)
        assert done.returncode == 0, done.stderr
        told.append([line.split(":")[0] for line in done.stderr.splitlines() if line.startswith("Leaving out ")])
        if not output.endswith(".tar"):
            digests.add(Layout(project / output).image(None, PLATFORM)[0].digest)
    assert len(digests) == 1
    assert told == [[], ["Leaving out out"], ["Leaving out m.tar"], ["Leaving out m.tar", "Leaving out out"]]


@pytest.mark.parametrize("output", [".", ".."])
def test_an_image_is_not_written_over_the_project_itself(yard: Run, project: Path, base: Path, output: str) -> None:
    done = yard("build", "-o", output, "--base-image", f"oci:{base}", cwd=project)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --output: {output}: the project lies in this folder; wanted: ")
    assert not (project / output / "blobs").exists()


def test_a_timestamp_is_when_it_says_that_it_was_made(yard: Run, project: Path, base: Path) -> None:
    yard("build", "--timestamp", "86400", "-o", "out", "--base-image", f"oci:{base}", cwd=project)
    assert config_of(project / "out").created == "1970-01-02T00:00:00Z"


def test_managed_weights_are_at_their_targets_or_it_is_said_that_they_are_not_here(
    yard: Run, project: Path, base: Path, home: Path
) -> None:
    weights_project.write(project, weights_project.BASE)
    flags = ("-t", "m", "-o", "out", "--base-image", f"oci:{base}")
    done = yard("build", *flags, cwd=project)
    assert done.returncode == 1
    assert 'weight "base" is not fully cached locally (missing a.txt)' in done.stderr
    weights_project.keep(home / ".cache" / "cog", weights_project.BASE)
    done = yard("build", *flags, cwd=project)
    assert done.returncode == 0, done.stderr
    kinds = config_of(project / "out").labels["org.modelyard.layers"].split()
    layout = Layout(project / "out")
    layer = layout.image(None, PLATFORM)[1].layers[kinds.index("placed-weights")]
    with tarfile.open(layout.path(layer.digest)) as archive:
        assert archive.getnames() == ["src/weights/base/a.txt", "src/weights/base/sub/b.txt"]


# What cannot be


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "system_packages: [ffmpeg, sox]",
            "cog.yaml: build.system_packages (ffmpeg, sox) must be installed in the image, which needs a Docker Engine",
        ),
        ("run: [echo hello]", "cog.yaml: build.run (echo hello) must be executed in the image"),
    ],
)
def test_what_must_be_executed_in_the_image_is_named(
    line: str, said: str, yard: Run, project: Path, base: Path
) -> None:
    write(project, line)
    done = yard("build", "--base-image", f"oci:{base}", cwd=project, **NO_ENGINE)
    assert done.returncode == 1
    assert f"error: {said}" in done.stderr
    assert "take build." in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--platform", "windows/amd64"), "--platform is 'windows/amd64'; wanted: linux/amd64 or linux/arm64"),
        (("-t", "No Name"), "--tag is 'No Name'; wanted: an image's name"),
        (("--base-image", "oci:nowhere"), "oci:nowhere: there is no folder nowhere"),
        (("--base-image", "none"), "no base is wanted"),
        (("--base-image", "http://x/y"), "the base image is 'http://x/y'; wanted: HOST/owner/name"),
    ],
)
def test_a_wrong_flag_is_named(flags: tuple[str, ...], said: str, yard: Run, project: Path) -> None:
    done = yard("build", *flags, cwd=project)
    assert done.returncode != 0
    assert f"error: {said}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_base_with_another_python_is_refused_and_it_is_said_what_to_write(
    yard: Run, project: Path, base: Path
) -> None:
    write(project, python="3.10" if bases.OWN != "3.10" else "3.11")
    done = yard("build", "--base-image", f"oci:{base}", cwd=project)
    assert done.returncode == 1
    assert f"has Python {bases.OWN}; wanted: Python 3.1" in done.stderr
    assert f'hint: write python_version: "{bases.OWN}" in cog.yaml' in done.stderr


def test_a_requirement_without_a_wheel_is_named(yard: Run, project: Path, tmp_path: Path) -> None:
    other = "arm64" if ARCHITECTURE == "amd64" else "amd64"
    base = bases.small(tmp_path / "base", architecture=other)
    write(project, 'python_packages: ["antlr4-python3-runtime==4.9.3"]')
    done = yard("build", "--platform", f"linux/{other}", "-o", "out", "--base-image", f"oci:{base}", cwd=project)
    assert done.returncode == 1
    assert f"error: antlr4-python3-runtime==4.9.3 has no wheel for Python {bases.OWN} on linux/{other}" in done.stderr
    assert "hint: pin a version that has one" in done.stderr


# A base of a registry


class Registry:
    """A registry with one repository that holds a layout's images, by way of an index; it notes what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder)
        self.asked: list[str] = []
        self.index = render_index(Index(manifests=tuple(self.layout.names().values())))

    def __call__(self, handler: Any) -> None:
        self.asked.append(handler.path)
        kind, _, name = handler.path.rpartition("/")
        if handler.path == "/v2/":
            handler.answer(200)
        elif kind.endswith("/manifests") and name == "3":
            handler.answer(200, self.index, Content_Type=INDEX, Docker_Content_Digest=digest_of(self.index))
        elif name.startswith("sha256:") and self.layout.path(name).exists():
            kinds = {"Content_Type": MANIFEST} if kind.endswith("/manifests") else {}
            handler.answer(200, self.layout.path(name).read_bytes(), **kinds)
        else:
            handler.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}')

    def blobs(self) -> list[str]:
        """The blobs that somebody asked for."""
        return [path.rpartition("/")[2] for path in self.asked if "/blobs/" in path]


def test_the_layers_of_a_base_are_fetched_when_they_are_wanted_and_once(
    yard: Run, project: Path, base: Path, tmp_path: Path
) -> None:
    registry = Registry(base)
    layer = Layout(base).image(None, PLATFORM)[1].layers[0].digest
    with serving(registry) as url:
        ref = f"{url.removeprefix('http://')}/library/python:3"
        for number in range(2):
            done = yard("build", "-o", f"out{number}", "--base-image", ref, cwd=project)
            assert done.returncode == 0, done.stderr
    assert registry.blobs().count(layer) == 1
    assert len([path for path in registry.asked if path.endswith("/manifests/3")]) == 1  # known for a day
    assert config_of(project / "out1").labels["org.opencontainers.image.base.name"] == ref
    # What was looked up is enough while the registry is away.
    done = yard("build", "-o", "out2", "--no-cache", "--base-image", ref, cwd=project)
    assert done.returncode == 0, done.stderr
    assert "what it was before is taken" in done.stderr


def test_a_base_that_cannot_be_had_stops_a_build_and_says_how_to_give_one(yard: Run, project: Path) -> None:
    done = yard("build", "-t", "m", "--base-image", "127.0.0.1:1/x/y:z", cwd=project)
    assert done.returncode == 1
    assert "error: the base image 127.0.0.1:1/x/y:z cannot be had: 127.0.0.1:1 does not answer" in done.stderr
    assert "hint: name one with --base-image REF or MODELYARD_BASE_IMAGE" in done.stderr


def test_a_base_that_is_not_there_is_named(yard: Run, project: Path, base: Path) -> None:
    with serving(Registry(base)) as url:
        ref = f"{url.removeprefix('http://')}/library/python:4"
        done = yard("build", "-t", "m", "--base-image", ref, cwd=project)
    assert done.returncode == 1
    assert "has no 4" in done.stderr
