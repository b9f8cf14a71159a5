"""`yard push` against a running registry: what is sent, what is not, and what a death in the middle leaves behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from registry_yard import Yard

from modelyard import errors
from modelyard.cli import client
from modelyard.cli.pace import Pace
from modelyard.cli.registries import at_yard
from modelyard.oci import labels
from modelyard.oci import manifest as oci
from modelyard.oci.client.door import RegistryError
from modelyard.oci.client.remote import Repository
from modelyard.oci.layers import Layer, Member, file_layer

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
RUN = "def run(text: str, count: int = 2) -> str:\n    return text * count\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "cog.yaml").write_text(f'build:\n  python_version: "{OWN}"\nrun: "run.py:run"\nenvironment: ["A=1"]\n')
    (folder / "run.py").write_text(RUN)
    return folder


def command(yard: Yard, project: Path, *arguments: str) -> subprocess.Popen[str]:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(yard.folder),
        "MODELYARD_URL": yard.url,
        "MODELYARD_TOKEN": "owner-token",
        "MODELYARD_BASE_IMAGE": "none",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "modelyard", "push", *arguments],
        cwd=project,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def push(yard: Yard, project: Path, *arguments: str, status: int = 0) -> tuple[str, str]:
    with command(yard, project, *arguments) as child:
        out, err = child.communicate(timeout=100)
    assert child.returncode == status, err
    return out.strip(), err


def uploads(yard: Yard) -> Iterator[Path]:
    return (yard.folder / "uploads").glob("*.part")


def size_of(path: Path) -> int:
    """0 for what is gone by now: an upload that ended has another name."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_push_makes_a_version_and_says_what_to_try_next(yard: Yard, project: Path) -> None:
    out, err = push(yard, project, "owner/m")
    (arrival,) = yard.arrivals
    assert out == f"owner/m:{arrival.digest.removeprefix('sha256:')}"
    assert f"{yard.url}/v1/models/owner/m/predictions" in err
    assert '{"input": {"text": "…"}}' in err
    found = oci.parse_config(arrival.config_blob)
    assert found.labels[labels.REF] == "run.py:run"
    assert found.labels[labels.PYTHON] == OWN
    assert found.environment == ("A=1",)
    schema = json.loads(found.labels["run.cog.openapi_schema"])
    assert list(schema["components"]["schemas"]["Input"]["properties"]) == ["text", "count"]


def test_a_second_push_sends_nothing_and_gives_the_same_version(yard: Yard, project: Path) -> None:
    first, _ = push(yard, project, "owner/m", "--json")
    second, err = push(yard, project, "owner/m", "--json")
    assert json.loads(second)["version"] == json.loads(first)["version"]
    assert json.loads(second)["sent_bytes"] == 0
    assert "Packing" not in err


def test_after_an_edit_the_weights_are_not_sent_again(yard: Yard, project: Path) -> None:
    for number in range(3):
        (project / f"w{number}.bin").write_bytes(os.urandom(1024) * 11 * 1024)
    first = json.loads(push(yard, project, "owner/m", "--json")[0])
    assert first["sent_bytes"] > 3 * 11 * 1024 * 1024
    (project / "run.py").write_text(RUN.replace("2", "3"))
    second = json.loads(push(yard, project, "owner/m", "--json")[0])
    assert 0 < second["sent_bytes"] < 20_000
    assert second["version"] != first["version"]


def test_no_uv_and_no_heavy_library_is_loaded_when_only_the_source_changed(yard: Yard, project: Path) -> None:
    push(yard, project, "owner/m")
    (project / "run.py").write_text(RUN.replace("2", "3"))
    code = (
        "import sys\nfrom modelyard.cli.main import main\nsys.argv = ['yard', 'push', 'owner/m']\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    told = {"MODELYARD_URL": yard.url, "MODELYARD_TOKEN": "owner-token", "MODELYARD_BASE_IMAGE": "none"}
    environ = {**os.environ, **told}
    done = subprocess.run([sys.executable, "-c", code], cwd=project, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.splitlines()[-1].split())
    assert not loaded & {
        "uv",
        "rich",
        "aiohttp",
        "asyncio",
        "starlette",
        "sqlalchemy",
        "ruamel.yaml",
        "concurrent.futures",
    }


@pytest.mark.parametrize("model", ["m", "a/b/c", "/m", "owner/", "owner/m:tag"])
def test_a_name_that_is_none_is_wrong_usage(yard: Yard, project: Path, model: str) -> None:
    _, err = push(yard, project, model, status=2)
    assert "OWNER/MODEL" in err


def test_a_push_to_another_account_is_refused(yard: Yard, project: Path) -> None:
    _, err = push(yard, project, "public/m", status=1)
    assert "may not push to public/m. This token is owner's, who pushes to names such as owner/m." in err
    assert "Traceback" not in err


def test_a_name_of_nobodys_is_refused_by_saying_whose_the_token_is_before_anything_is_made(
    yard: Yard, project: Path
) -> None:
    _, err = push(yard, project, "nobody/x", status=1)
    assert err.splitlines() == [
        "error: There is no repository nobody/x that this token may see."
        " This token is owner's, who pushes to names such as owner/x."
    ]


def test_what_the_yard_refuses_is_said_with_its_hint(yard: Yard, project: Path) -> None:
    yard.refuse = errors.Invalid("the schema is not good", hint="mend it")
    _, err = push(yard, project, "owner/m", status=1)
    assert "error: the schema is not good" in err
    assert "hint: mend it" in err


def test_a_model_file_that_dockerignore_leaves_out_is_refused_before_anything_is_sent(
    yard: Yard, project: Path
) -> None:
    (project / ".dockerignore").write_text("*.py\n")
    _, err = push(yard, project, "owner/m", status=1)
    assert "!run.py" in err
    assert not list((yard.folder / "blobs").rglob("sha256/*"))


def test_a_yard_that_is_not_there_is_said(yard: Yard, project: Path) -> None:
    yard.stop()
    _, err = push(yard, project, "owner/m", status=1)
    yard.start()
    assert "no yard answers" in err
    assert "yard up" in err


# -- broken in the middle


def test_a_push_that_is_killed_leaves_no_version_and_the_next_one_makes_it(yard: Yard, project: Path) -> None:
    with (project / "weights.bin").open("wb") as file:
        file.truncate(600 * 1024 * 1024)
    with command(yard, project, "owner/m") as child:
        deadline = time.monotonic() + 60
        while not any(size_of(path) > 1024 * 1024 for path in uploads(yard)) and time.monotonic() < deadline:
            time.sleep(0.002)
        child.kill()
    assert yard.arrivals == []
    assert any(True for _ in uploads(yard))
    out, _ = push(yard, project, "owner/m")
    (arrival,) = yard.arrivals
    assert re.fullmatch(r"owner/m:[0-9a-f]{64}", out)
    with at_yard(yard.login(), "owner/m") as registry:
        assert all(registry.has(layer.digest) for layer in arrival.manifest.layers)


def send(registry: Repository, layer: Layer, progress: Callable[[int], None]) -> None:
    registry.send(layer.descriptor.digest, layer.descriptor.size, layer.chunks, progress)


def weights(folder: Path, size: int) -> Layer:
    (folder / "w.bin").write_bytes(os.urandom(size))
    return file_layer(Member(name="src/w.bin", path=folder / "w.bin"))


def test_an_upload_goes_on_where_it_was_when_the_yard_is_restarted(yard: Yard, tmp_path: Path) -> None:
    layer = weights(tmp_path, 3_000_000)
    told: list[int] = []

    def progress(count: int) -> None:
        told.append(count)
        if len(told) == 2:
            yard.restart()

    with at_yard(yard.login(), "owner/m", Pace(whole_bytes=1, piece_bytes=500_000)) as registry:
        send(registry, layer, progress)
        assert registry.has(layer.descriptor.digest)
    assert sum(told) == layer.descriptor.size
    kept = yard.folder / "blobs" / oci.blob_key(layer.descriptor.digest)
    assert oci.digest_of(kept.read_bytes()) == layer.descriptor.digest


def test_a_yard_that_stays_away_ends_the_upload_with_a_sentence(yard: Yard, tmp_path: Path) -> None:
    layer = weights(tmp_path, 1_000_000)
    with (
        at_yard(yard.login(), "owner/m", Pace(whole_bytes=1, piece_bytes=300_000)) as registry,
        pytest.raises(errors.Unavailable, match="no yard answers"),
    ):
        send(registry, layer, lambda _: yard.stop())
    yard.start()


def test_a_file_that_changed_while_it_was_sent_is_refused_by_its_digest(yard: Yard, tmp_path: Path) -> None:
    layer = weights(tmp_path, 100_000)
    (tmp_path / "w.bin").write_bytes(os.urandom(100_000))
    with at_yard(yard.login(), "owner/m") as registry, pytest.raises(RegistryError, match="digest"):
        send(registry, layer, lambda _: None)


def test_a_wrong_token_is_said(yard: Yard) -> None:
    with (
        at_yard(client.Login(url=yard.url, token="r8_wrong"), "owner/m") as registry,
        pytest.raises(errors.Unauthenticated, match="token"),
    ):
        registry.has(oci.digest_of(b""))


def test_what_is_no_registry_is_said(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "http.server", "0", "--bind", "127.0.0.1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert child.stdout is not None
        match = re.search(r"port (\d+)", child.stdout.readline())
        assert match is not None
        login = client.Login(url=f"http://127.0.0.1:{match[1]}", token="r8_x")
        with at_yard(login, "owner/m") as registry, pytest.raises(RegistryError, match="no registry"):
            registry.send_bytes(oci.digest_of(b""), b"")
    finally:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()
