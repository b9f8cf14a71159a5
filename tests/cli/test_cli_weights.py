"""`yard weights import` and `status` against a yard's registry: the texts, the lock, and what is moved."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from weights_servers import Hub, Line, digest, serving
from yard_process import Run, Server

from modelyard.cli import client
from modelyard.errors import NotFound

MIB = 1024 * 1024


class Project:
    """A project with weights, and the command in it."""

    def __init__(self, folder: Path, yard: Run, server: Server, model: str) -> None:
        self.folder = folder
        self.host = server.url.partition("://")[2]
        self.model = f"{self.host}/yard/{model}"
        self._yard, self._server = yard, server
        folder.mkdir(exist_ok=True)

    def write(self, *weights: str, model: str = "") -> None:
        """cog.yaml with weights as `NAME: SOURCE`."""
        lines = [f"model: {model or self.model}", "weights:"]
        for weight in weights:
            name, _, source = weight.partition(": ")
            lines += [f"  - name: {name}", f"    target: /src/{name}", f"    source: {source}"]
        (self.folder / "cog.yaml").write_text("\n".join(lines) + "\n")

    def file(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def __call__(self, *arguments: str, code: int = 0, **variables: str) -> tuple[str, str]:
        """Its stdout and stderr without what every call says."""
        told = {"MODELYARD_URL": self._server.url, "MODELYARD_TOKEN": self._server.token, **variables}
        done = self._yard("weights", *arguments, cwd=self.folder, **told)
        assert done.returncode == code, done.stderr
        lines = [line for line in done.stderr.splitlines() if "NOTE:" not in line]
        assert len(done.stderr.splitlines()) == len(lines) + 1
        assert "warning: NOTE:" not in done.stderr
        return done.stdout, "\n".join(lines)

    @property
    def lock(self) -> dict[str, Any]:
        return json.loads((self.folder / "weights.lock").read_text())


@pytest.fixture
def project(tmp_path: Path, yard: Run, server: Server, request: pytest.FixtureRequest) -> Project:
    name = re.sub("[^a-z]+", "-", request.node.name)[-40:].strip("-")
    return Project(tmp_path / "project", yard, server, name)


def stored_paths(home: Path) -> list[Path]:
    return list((home / ".cache" / "cog" / "weights" / "files" / "sha256").glob("??/*"))


def stored(home: Path) -> set[str]:
    return {"sha256:" + path.name for path in stored_paths(home)}


def test_an_import_says_what_it_does_and_leaves_the_store_warm(project: Project, home: Path) -> None:
    project.file("in/config.json", b"{}")
    project.file("in/big.safetensors", os.urandom(65 * MIB))
    project.file("in/.cog/x", b"ours")
    project.write("w1: {uri: ./in}", "w2: {uri: in, include: ['*.json']}")
    out, err = project("import")
    lock = project.lock
    one, two = (weight["digest"][7:19] for weight in lock["weights"])
    assert out == ""
    assert err.splitlines() == [
        "+ w1  file://./in → /src/w1",
        "  status: new",
        "  files: 2  size: 68.2 MB",
        "+ w2  file://./in → /src/w2",
        "  status: new",
        "  files: 1  size: 2 B",
        "Building 2 weight(s)...",
        "w1: Download complete",
        "  w1 -> /src/w1 (2 layer(s), 68.2 MB)",
        "w2: Download complete",
        "  w2 -> /src/w2 (1 layer(s), 2 B)",
        f"Pushing 2 weight(s) to {project.model}...",
        "w1: Pushed",
        f"  w1: {project.model}:cog-weight.w1.{one}",
        "w2: Pushed",
        f"  w2: {project.model}:cog-weight.w2.{two}",
        f"Imported 2 weight artifact(s) to {project.model}",
        "Total: 68.2 MB",
    ]
    assert stored(home) == {file["digest"] for weight in lock["weights"] for file in weight["files"]}
    assert lock["weights"][1]["sources"][0]["include"] == ["*.json"]
    assert not list((home / ".cache" / "cog" / "weights" / "partial").iterdir())
    out, _ = project("status")
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["w1", "/src/w1", "ready"],
        ["w2", "/src/w2", "ready"],
    ]


def test_an_import_makes_neither_a_model_nor_a_version(project: Project, server: Server) -> None:
    project.file("in/a.json", b"{}")
    project.write("w1: {uri: in}")
    project("import")
    with pytest.raises(NotFound):
        client.call(
            client.Login(url=server.url, token=server.token), "GET", f"/v1/models/{project.model.partition('/')[2]}"
        )


def test_a_second_import_moves_nothing(project: Project) -> None:
    project.file("in/a.bin", b"a" * 1000)
    project.write("w1: {uri: in}")
    project("import")
    before = (project.folder / "weights.lock").read_bytes()
    _, err = project("import")
    assert "= w1  file://./in → /src/w1\n  status: unchanged\n" in err
    assert "Building" not in err
    assert "Pushing" not in err
    assert (project.folder / "weights.lock").read_bytes() == before


def test_what_changes_is_imported_again_and_told_why(project: Project) -> None:
    project.file("in/a.json", b"one")
    project.file("in/b.bin", b"b")
    project.write("w1: {uri: in}", "w2: {uri: in, include: ['*.bin']}")
    project("import")
    project.file("in/a.json", b"two")
    project.write("w1: {uri: in}", "w2: {uri: in, include: [b.bin]}")
    _, err = project("import")
    assert re.search(r"~ w1 .*\n  status: upstream-changed \(file://./in: sha256:\w+ → sha256:\w+\)", err)
    assert "~ w2  file://./in → /src/w2\n  status: config-changed (include: [*.bin] → [b.bin])" in err
    assert "Pushing 2 weight(s)" in err
    project.write("w2: {uri: in, include: [b.bin]}")
    out, _ = project("status", code=1)
    assert {line.split()[0]: line.split()[2] for line in out.splitlines()[1:]} == {"w1": "orphaned", "w2": "ready"}
    _, err = project("import")
    assert "- w1  removed from cog.yaml but still in lockfile" in err
    assert [weight["name"] for weight in project.lock["weights"]] == ["w2"]


def test_one_weight_is_imported_by_its_name(project: Project) -> None:
    project.file("in/a.json", b"one")
    project.write("w1: {uri: in}", "w2: {uri: in}")
    _, err = project("import", "w2")
    assert "w1" not in err
    assert [weight["name"] for weight in project.lock["weights"]] == ["w2"]
    out, _ = project("status", "--json", code=1)
    found = {weight["name"]: weight for weight in json.loads(out)["weights"]}
    assert (found["w1"]["status"], found["w2"]["status"]) == ("pending", "ready")
    assert (found["w2"]["files"], found["w2"]["cachedFiles"]) == (1, 1)
    out, _ = project("status", "-v", code=1)
    assert "  not imported yet" in out
    assert "  on this machine: 1 of 1 file(s)" in out


def test_the_same_files_give_the_same_digests_in_another_folder_and_repository(
    project: Project, yard: Run, server: Server, tmp_path: Path
) -> None:
    contents = {f"in/{name}": os.urandom(5000) for name in ("b.bin", "a/c.txt", "z")}
    for name, content in contents.items():
        project.file(name, content)
    project.write("w1: {uri: in}")
    project("import")
    other = Project(tmp_path / "other", yard, server, "elsewhere")
    for name, content in reversed(contents.items()):
        other.file(name, content)
        os.utime(other.folder / name, (1, 1))
        (other.folder / name).chmod(0o600)
    other.write("w1: {uri: in}")
    other("import", COG_CACHE_DIR=str(tmp_path / "cache"))
    one, two = project.lock["weights"][0], other.lock["weights"][0]
    assert one.pop("importedAt")
    assert two.pop("importedAt")
    assert one == two


def test_a_registry_that_lost_it_gets_it_again(project: Project, home: Path) -> None:
    project.file("in/a.json", b"one")
    project.write("w1: {uri: in}")
    project("import")
    before = project.lock
    elsewhere = f"{project.host}/yard/moved"
    out, _ = project("status", code=1, COG_MODEL=elsewhere)
    assert out.splitlines()[1].split()[2] == "incomplete"
    _, err = project("import", COG_MODEL=elsewhere)
    assert f"Pushing 1 weight(s) to {elsewhere}..." in err
    assert project.lock == before
    project("status", COG_MODEL=elsewhere)
    for path in (home / ".cache" / "cog" / "weights" / "files").rglob("*"):
        if path.is_file():
            path.unlink()
    project("import")
    assert stored(home) == {digest(b"one")}


def test_weights_of_a_hub_are_brought_once(project: Project, home: Path) -> None:
    contents = {"config.json": b"{}", "model.safetensors": os.urandom(MIB), "old.bin": b"x", "README.md": b"#"}
    there = Hub(contents, large=("model.safetensors",), token="hf_x")
    with serving(there) as url:
        project.write("base: {uri: 'hf://o/r', exclude: ['*.bin', '*.md']}")
        told = {"HF_ENDPOINT": url, "HF_TOKEN": "hf_x"}
        _, err = project("import", **told)
        assert "+ base  hf://o/r → /src/base\n  status: new\n  files: 2  size: 1.0 MB" in err
        (weight,) = project.lock["weights"]
        assert weight["sources"] == [
            {
                "uri": "hf://o/r",
                "fingerprint": f"commit:{'c' * 40}",
                "include": [],
                "exclude": ["*.bin", "*.md"],
            }
        ]
        assert [file["path"] for file in weight["files"]] == ["config.json", "model.safetensors"]
        there.asked.clear()
        _, err = project("import", **told)
        assert "  status: unchanged" in err
        assert not [path for path in there.asked if "/resolve/" in path]
        there.commit = "d" * 40
        there.files = contents | {"config.json": b'{"new": 1}'}
        _, err = project("import", **told)
        assert "status: upstream-changed (hf://o/r: commit:cccccccccccc → commit:dddddddddddd)" in err
        assert [path for path in there.asked if "/resolve/" in path] == [f"/o/r/resolve/{'d' * 40}/config.json"]
        _, err = project("import", code=1, HF_ENDPOINT=url)
    assert "error: the hub does not give hf://o/r" in err
    assert "hint: if it is private or gated, set HF_TOKEN" in err


def test_an_import_that_was_cut_off_goes_on(project: Project) -> None:
    data = os.urandom(4 * MIB)
    there = Hub({"m.bin": data}, large=("m.bin",))
    with serving(there) as url:
        line = Line(url, [1 << 20] + [2 * MIB] + [1] * 40)
        project.write("base: {uri: 'hf://o/r'}")
        _, err = project("import", code=1, HF_ENDPOINT=f"http://{line.address}")
        assert f"{line.address} does not answer" in err
        assert not (project.folder / "weights.lock").exists()
        line.close()
        again = Line(url, [])
        _, err = project("import", HF_ENDPOINT=f"http://{again.address}")
        again.close()
        assert line.passed + again.passed < len(data) + MIB
    assert "base: Download complete" in err
    assert project.lock["weights"][0]["files"][0]["digest"] == digest(data)


def test_a_registry_that_refuses_is_asked_before_anything_is_brought(project: Project, home: Path) -> None:
    project.file("in/a.json", b"one")
    project.write("w1: {uri: in}", model=f"{project.host}/somebody/else")
    _, err = project("import", code=1)
    assert "error: There is no repository somebody/else that this token may see. This token is yard's, who " in err
    assert "no repository somebody/else" in err
    assert "Building" not in err
    assert not stored(home)
    assert not (project.folder / "weights.lock").exists()


def test_who_is_not_logged_in_hears_of_yard_login_first(project: Project, home: Path) -> None:
    project.file("in/a.json", b"one")
    project.write("w1: {uri: in}")
    url = f"http://{project.host}"
    for variables, said in (({"MODELYARD_TOKEN": ""}, "wants you to log in"), ({"MODELYARD_TOKEN": "no"}, "token")):
        _, err = project("import", code=1, **variables)
        assert said in err
        assert f"hint: `yard login {url}`" in err
        assert not stored(home)


def test_a_registry_that_is_not_there_is_told_before_anything_is_brought(project: Project, home: Path) -> None:
    project.file("in/a.json", b"one")
    project.write("w1: {uri: in}", model="127.0.0.1:1/yard/m")
    _, err = project("import", code=1)
    assert "127.0.0.1:1 does not answer: Connection refused" in err
    assert "start one with `yard up`" in err
    assert not stored(home)


@pytest.mark.parametrize("host", ["", "r8.im/"])
def test_a_model_without_a_host_is_at_the_yard_that_one_is_logged_in_to(project: Project, host: str) -> None:
    project.file("in/a.json", b"one")
    bare = project.model.partition("/")[2]
    project.write("w1: {uri: in}", model=f"{host}{bare}")
    _, err = project("import")
    assert f"Imported 1 weight artifact(s) to {project.model}" in err


def test_a_model_without_a_host_and_without_a_login_is_told_to_be_dockers(project: Project, home: Path) -> None:
    project.file("in/a.json", b"one")
    project.write("w1: {uri: in}", model="me/writer")
    # Nobody is asked: what would lead out of here leads nowhere.
    _, err = project("import", code=1, MODELYARD_TOKEN="", HTTPS_PROXY="http://127.0.0.1:1", NO_PROXY="")
    assert "error: index.docker.io does not answer" in err
    assert "`model: me/writer` names no host, and without a login to a yard that is index.docker.io" in err
    assert f"`yard login` first, or `model: {project.host}/me/writer`, sends them to a yard" in err
    assert not stored(home)


def test_a_status_says_what_is_here_and_what_changed_since(project: Project, home: Path) -> None:
    project.file("in/a.json", b"one")
    project.file("in/b.json", b"two")
    project.write("w1: {uri: in}", "w2: {uri: in, include: [b.json]}")
    project("import")
    out, err = project("status")
    assert [line.split()[-1] for line in out.splitlines()] == ["HERE", "2/2", "1/1"]
    assert err == ""
    project.file("in/a.json", b"six")
    out, err = project("status")
    assert [line.split()[2] for line in out.splitlines()[1:]] == ["ready", "ready"]
    assert err.splitlines() == [
        "note: w1: file://./in changed since its import, which is what runs; import again to take it"
    ]
    assert json.loads(project("status", "--json")[0])["weights"][0]["changedSources"] == ["file://./in"]
    for path in stored_paths(home):
        path.unlink()
    (project.folder / "in").rename(project.folder / "gone")
    out, err = project("status")
    assert [line.split()[-1] for line in out.splitlines()] == ["HERE", "0/2", "0/1"]
    assert err == ""


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{uri: none}", "weight source not found: file://./none"),
        ("{uri: in/a.json}", "weight source URI is not a directory (file://./in/a.json)"),
        ("{uri: linked}", "weight source has a symbolic link: link"),
        ("{uri: in, include: ['*.bin']}", "no files are left of file://./in"),
        ("[{uri: in}, {uri: ./in/}]", "two of its sources have a file a.json"),
    ],
)
def test_a_source_that_cannot_be_is_refused_before_anything_is_made(
    project: Project, home: Path, source: str, words: str
) -> None:
    project.file("in/a.json", b"one")
    (project.folder / "linked").mkdir()
    (project.folder / "linked" / "link").symlink_to("../in/a.json")
    project.write(f"w1: {source}")
    _, err = project("import", code=1)
    assert words in err
    assert not stored(home)
    assert not (project.folder / "weights.lock").exists()
