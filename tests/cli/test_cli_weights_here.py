"""A project with weights on this machine: pulled from a yard's registry, seen by run, exec, train and serve."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import weights_project
import yard_process
from weights_project import BASE, FILES, READS, Weight
from yard_process import YARD, Run, Server

from modelyard.weights.cache import Cache

OTHER = Weight(name="other", target="/modelyard-weights/other", files={"big.bin": b"0" * 100_000})
TRAINS = """
from pathlib import Path


def train() -> str:
    Path("/src/made-by-training").write_text("made")
    return Path("/src/weights/base/a.txt").read_text()
"""
HERE = pytest.mark.skipif(not Path("/proc/self/ns/mnt").exists(), reason="only Linux has mount namespaces")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose weights are in the store."""
    folder = tmp_path / "project"
    folder.mkdir()
    weights_project.write(folder, BASE, OTHER)
    weights_project.keep(tmp_path / "store", BASE, OTHER)
    return folder


@pytest.fixture
def here(home: Path, tmp_path: Path, project: Path) -> Run:
    """The command in that project."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        known = {"COG_CACHE_DIR": str(tmp_path / "store"), **variables}
        return yard_process.run(*arguments, home=home, cwd=project, **known)

    return run


def nothing_is_left(project: Path) -> bool:
    mounts = project / ".cog" / "mounts"
    return not (mounts.exists() and list(mounts.iterdir())) and not (project / "weights").is_dir()


# Run, exec, train


def test_run_sees_them_at_their_targets(here: Run, project: Path) -> None:
    done = here("run", "-i", "path=/modelyard-weights/other/big.bin")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("['a.txt', 'sub'] 0000")
    assert nothing_is_left(project)
    assert not Path("/modelyard-weights").exists()
    assert here("run", "-i", "path=weights/base/sub/b.txt").stdout == "['a.txt', 'sub'] all of b\n"


def test_the_model_cannot_change_them_but_the_project(here: Run, project: Path) -> None:
    (project / "run.py").write_text(
        "def Runner() -> str:\n"
        "    open('/src/written', 'w').write('by the model')\n"
        "    try:\n        open('/src/weights/base/a.txt', 'w')\n"
        "    except OSError as error:\n        return str(error)\n"
        "    return 'written'\n"
    )
    assert "Read-only file system" in here("run").stdout
    assert (project / "written").read_text() == "by the model"


def test_a_model_whose_setup_fails_leaves_nothing(here: Run, project: Path) -> None:
    (project / "run.py").write_text("class Runner:\n    def setup(self): 1 / 0\n    def run(self) -> str: return ''\n")
    done = here("run")
    assert done.returncode == 1
    assert "division by zero" in done.stderr
    assert nothing_is_left(project)


def test_exec_sees_them_too(here: Run, project: Path) -> None:
    done = here("exec", "sh", "-c", "pwd; ls /src/weights/base weights/base/sub /modelyard-weights/other")
    assert done.stdout.split() == [
        str(project),
        "/modelyard-weights/other:",
        "big.bin",
        "/src/weights/base:",
        "a.txt",
        "sub",
        "weights/base/sub:",
        "b.txt",
    ], done.stderr
    assert nothing_is_left(project)
    assert here("exec", "sh", "-c", "exit 3").returncode == 1
    missing = here("exec", "no-such-command")
    assert "no-such-command: there is no such command" in missing.stderr
    assert nothing_is_left(project)


def test_train_sees_them_and_its_output_may_be_called_weights(here: Run, project: Path) -> None:
    (project / "train.py").write_text(TRAINS)
    with (project / "cog.yaml").open("a") as file:
        file.write("train: train.py:train\n")
    done = here("train")
    assert done.returncode == 0, done.stderr
    assert (project / "weights").read_text() == "all of a"
    assert (project / "made-by-training").exists()


# What is refused


@pytest.mark.parametrize("command", [("run",), ("serve", "-p", "0"), ("exec", "true")])
def test_a_file_that_is_not_in_the_store_is_named(
    here: Run, project: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    shutil.rmtree(tmp_path / "store" / "weights" / "files")
    done = here(*command)
    assert done.returncode == 1
    words = """weight "base" is not fully cached locally (missing a.txt); run 'yard weights pull' first"""
    assert words in done.stderr
    assert nothing_is_left(project)


def test_what_differs_from_cog_yaml_is_refused(here: Run, project: Path) -> None:
    text = (project / "cog.yaml").read_text()
    text = text.replace("target: /modelyard-weights/other", "target: /src/other").replace("name: base", "name: based")
    (project / "cog.yaml").write_text(text)
    done = here("run")
    assert done.returncode == 1
    assert "weights.lock is out of sync with cog.yaml:\n" in done.stderr
    assert '  - "based": not imported yet\n' in done.stderr
    assert '  - "base": removed from cog.yaml but still in lockfile\n' in done.stderr
    assert '  - "other": config changed (target: /modelyard-weights/other → /src/other)\n' in done.stderr
    assert "Run 'yard weights import' to update.\n" in done.stderr
    assert "Setting up" not in done.stderr


# Where mounts are not to be had


def no_namespaces() -> None:
    """From now on neither this process nor its children can make a mount namespace: the kernel has none left."""
    user = os.getuid()
    group = os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000):  # CLONE_NEWUSER: the limit below is that of a user namespace of our own
        raise OSError(ctypes.get_errno(), "no user namespace")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path(f"/proc/self/{name}").write_text(text)
    Path("/proc/sys/user/max_mnt_namespaces").write_text("0")


def without_namespaces(home: Path, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [YARD, *arguments],
        cwd=project,
        env={**yard_process.environment(home), "COG_CACHE_DIR": str(project.parent / "store")},
        preexec_fn=no_namespaces,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@HERE
def test_where_no_namespace_can_be_made_links_lead_to_the_files(home: Path, project: Path) -> None:
    inside = Weight(name="base", target=str(project / "weights" / "base"), files=FILES)
    weights_project.write(project, inside, code=READS.replace("/src", str(project)))
    done = without_namespaces(home, project, "run", "-i", f"path={project}/weights/base/sub/b.txt")
    assert done.stdout == "['a.txt', 'sub'] all of b\n", done.stderr
    seen = without_namespaces(home, project, "exec", "ls", "-l", "weights")
    assert f"base -> {project}/.cog/mounts/" in seen.stdout
    assert nothing_is_left(project)


@HERE
def test_where_no_namespace_can_be_made_a_place_that_cannot_be_made_is_refused(home: Path, project: Path) -> None:
    nowhere = Weight(name="base", target="/proc/nowhere/base", files=FILES)
    weights_project.write(project, nowhere)
    done = without_namespaces(home, project, "run")
    assert done.returncode == 1
    assert "weights cannot be shown at /proc/nowhere/base: this machine does not let user" in done.stderr
    assert "hint: allow user namespaces" in done.stderr
    assert nothing_is_left(project)


# Serve


@contextmanager
def serving(home: Path, project: Path, store: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of the project, set up; it, and its address."""
    process = subprocess.Popen(
        [YARD, "serve", "-p", "0", *flags],
        cwd=project,
        env={**yard_process.environment(home), "COG_CACHE_DIR": str(store)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    try:
        said = ""
        while "Ready." not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        yield process, said.partition("Serving at ")[2].split()[0]
    finally:
        process.kill()
        process.wait(20)
        process.stderr.close()


def ask(url: str, route: str = "/predictions", **given: str) -> str:
    body = json.dumps({"input": given}).encode()
    request = urllib.request.Request(url + route, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return str(json.load(reply).get("output"))


def end_by_request(process: subprocess.Popen[str], url: str) -> None:
    ask(url, "/shutdown")


def end_by_signal(process: subprocess.Popen[str], url: str) -> None:
    process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("end", [end_by_request, end_by_signal])
@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_a_server_shows_them_until_its_end(
    home: Path,
    tmp_path: Path,
    project: Path,
    end: Callable[[subprocess.Popen[str], str], None],
    flags: tuple[str, ...],
) -> None:
    with serving(home, project, tmp_path / "store", *flags) as (process, url):
        assert ask(url) == "['a.txt', 'sub'] all of a"
        assert list((project / ".cog" / "mounts").iterdir())
        end(process, url)
        assert process.wait(30) == 0
    assert nothing_is_left(project)


def test_a_run_beside_a_server_takes_nothing_from_it(home: Path, tmp_path: Path, project: Path, here: Run) -> None:
    with serving(home, project, tmp_path / "store") as (_, url):
        assert here("run").returncode == 0
        assert ask(url, path="/src/weights/base/sub/b.txt") == "['a.txt', 'sub'] all of b"


@HERE
def test_a_server_that_is_killed_leaves_no_mount_and_the_next_run_tidies(
    home: Path, tmp_path: Path, project: Path, here: Run
) -> None:
    with serving(home, project, tmp_path / "store") as (process, _):
        workers = _below(process.pid)
        process.kill()
        process.wait(20)
    _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert str(project) not in Path("/proc/self/mounts").read_text()
    assert not nothing_is_left(project)
    assert here("run").returncode == 0
    assert nothing_is_left(project)


def test_a_server_that_loads_again_shows_what_the_lock_says_now(home: Path, tmp_path: Path, project: Path) -> None:
    with serving(home, project, tmp_path / "store", "--reload") as (process, url):
        changed = Weight(name="base", target=BASE.target, files={"a.txt": b"another a"})
        weights_project.keep(tmp_path / "store", changed)
        weights_project.write(project, changed, OTHER)
        _until(lambda: "another a" in _answer(url))
        end_by_signal(process, url)
        process.wait(30)
    assert nothing_is_left(project)


def _answer(url: str) -> str:
    try:
        return ask(url)
    except OSError:
        return ""  # between the two


def _below(pid: int) -> list[int]:
    found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    assert found
    return found


def _until(true: Callable[[], bool]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not become so")


# Pull


@pytest.fixture
def pulls(here: Run, project: Path, server: Server) -> Run:
    """The command in a project whose weights are in the registry of a yard, and nowhere else."""
    registry = server.url.partition("://")[2]
    weights_project.send(registry, server.token, "yard/pulled", BASE.layer, OTHER.layer)
    weights_project.write(project, BASE, OTHER, model=f"{registry}/yard/pulled")
    shutil.rmtree(project.parent / "store")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return here(*arguments, MODELYARD_URL=server.url, MODELYARD_TOKEN=server.token)

    return run


def test_pull_says_what_it_brings_and_run_sees_it(pulls: Run) -> None:
    assert "run 'yard weights pull' first" in pulls("run").stderr
    done = pulls("weights", "pull")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert "Pulling base... (2 file(s))" in lines
    assert "Pulling base... done (16 B, 2 file(s), 1 layer(s))" in lines
    assert len([line for line in lines if line.endswith(": Download complete")]) == 3
    assert lines[-1].startswith("Pulled ")
    assert lines[-1].endswith(" across 3 file(s) / 2 layer(s) for 2 weight(s); 0 already cached.")
    assert pulls("run").stdout == "['a.txt', 'sub'] all of a\n"


def test_pull_brings_only_what_is_missing(pulls: Run, tmp_path: Path) -> None:
    assert pulls("weights", "pull", "base").returncode == 0
    done = pulls("weights", "pull")
    assert "Pulling base... cached (2/2 files)" in done.stderr
    assert done.stderr.endswith("across 1 file(s) / 1 layer(s) for 1 weight(s); 1 already cached.\n")
    assert pulls("weights", "pull").stderr.endswith("All 2 weight(s) already cached.\n")
    digest = BASE.locked.files[1].digest.removeprefix("sha256:")
    (tmp_path / "store" / "weights" / "files" / "sha256" / digest[:2] / digest).unlink()
    again = pulls("weights", "pull", "-v")
    assert f"Cache:    {tmp_path / 'store' / 'weights' / 'files'}\n" in again.stderr
    assert f"Lockfile: {tmp_path / 'project' / 'weights.lock'}\n" in again.stderr
    assert "Pulling base -> /src/weights/base\n  manifest: " in again.stderr
    assert "  files:    1 missing / 2 total\n" in again.stderr
    assert f"    sub/b.txt (8 B) {digest[:12]}\n" in again.stderr


def test_pull_refuses_names_that_are_not_there(pulls: Run, tmp_path: Path) -> None:
    done = pulls("weights", "pull", "b", "base", "a")
    assert done.returncode != 0
    assert "unknown weight(s): [b a]" in done.stderr
    assert not list((tmp_path / "store").rglob("*/sha256/*/*"))


def test_pull_needs_weights(here: Run, project: Path) -> None:
    (project / "cog.yaml").write_text("run: run.py:Runner\n")
    assert "no weights defined in cog.yaml" in here("weights", "pull").stderr


def test_pull_before_any_import_says_so(here: Run, project: Path) -> None:
    (project / "weights.lock").unlink()
    assert '  - "base": not imported yet\n' in here("weights", "pull").stderr


def test_a_registry_that_is_not_there_is_named(here: Run, project: Path) -> None:
    shutil.rmtree(project.parent / "store")
    done = here("weights", "pull")
    assert done.returncode == 1
    assert "localhost:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_scripts_for_cog_are_told_of_cog(home: Path, project: Path, tmp_path: Path) -> None:
    link = tmp_path / "cog"
    link.symlink_to(YARD)
    environment = {**yard_process.environment(home), "COG_CACHE_DIR": str(tmp_path / "empty")}
    done = subprocess.run(
        [str(link), "run"], cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert "run 'cog weights pull' first" in done.stderr


def test_prune_frees_what_no_project_needs_and_leaves_what_runs_use(here: Run, tmp_path: Path) -> None:
    assert here("run", "-i", "path=/src/weights/base/a.txt").returncode == 0
    cache = Cache(tmp_path / "store")
    needed = [cache.path(file.digest) for weight in (BASE, OTHER) for file in weight.locked.files]
    old = cache.path(cache.add([b"of an import before"]))
    cache.partial("new-killed").write_bytes(b"half")
    for path in (*needed, old, cache.partial("new-killed")):
        os.utime(path, (1, 1))
    told = here("weights", "prune", "--dry-run", "--json")
    assert json.loads(told.stdout)["totals"] == {
        "weights": {"count": 1, "bytes": 19},
        "leftovers": {"count": 1, "bytes": 4},
    }
    assert old.exists()
    done = here("weights", "prune")
    assert (done.returncode, old.exists(), cache.partial("new-killed").exists()) == (0, False, False)
    assert "no project needs it" in done.stdout
    assert "Removed 2 things: 23 B" in done.stderr
    assert all(path.exists() for path in needed)
    assert "Nothing to remove." in here("weights", "prune").stderr
    wrong = here("weights", "prune", "--older-than", "soon")
    assert (wrong.returncode, "--older-than is 'soon'; wanted: a duration" in wrong.stderr) == (2, True)
