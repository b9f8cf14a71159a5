"""Folders at paths of their own, for one process: tried by children, as root and as somebody else."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from supervised import run, supervised

from modelyard_runner import frames, view

NOBODY = 65534
PLACE = "/modelyard-test-place"  # below the root, where there is no such folder

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has mount namespaces")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter and write to."""
    made = Path(tempfile.mkdtemp(prefix="view-"))
    made.chmod(0o777)
    for name in ("weights", "project"):
        (made / name).mkdir()
        (made / name).chmod(0o777)
    (made / "weights" / "a.bin").write_bytes(b"weights")
    yield made
    shutil.rmtree(made)


@pytest.fixture(params=["self", "nobody"])
def user(request: pytest.FixtureRequest) -> int:
    """Who does it."""
    if request.param == "self":
        return os.getuid()
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    return NOBODY


def become(user: int) -> None:
    if user != os.getuid():
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        # Who changes his user without running another program may not write to his own /proc; PR_SET_DUMPABLE mends it.
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)


def child(act: Callable[[], Any], user: int) -> Any:
    """What `act` gives in a process of that user."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become(user)
            answer = {"value": act()}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        answer = json.loads(said.read())
    os.waitpid(pid, 0)
    assert "error" not in answer, answer["error"]
    return answer["value"]


def shows(source: Path, target: str, *, writable: bool = False) -> dict[str, Any]:
    return {"source": str(source), "target": target, "writable": writable}


def names(folder: str | Path) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def refusal(act: Callable[[], object]) -> str:
    try:
        act()
    except OSError as error:
        return error.strerror or ""
    return ""


@pytest.mark.parametrize("target", [f"{PLACE}/deep/x", "/usr/share/modelyard-test/x", "/opt/modelyard-test"])
def test_a_folder_is_seen_where_there_is_none_and_nothing_stays(folder: Path, user: int, target: str) -> None:
    def act() -> dict[str, Any]:
        view.enter([shows(folder / "weights", target)])
        place = Path(target, "a.bin")
        return {
            "text": place.read_text(),
            "refused": refusal(lambda: place.open("wb")),
            "new": refusal(lambda: Path(target, "new").touch()),
        }

    above = Path(target)
    while not above.exists():
        above = above.parent
    before = names(above)
    seen = child(act, user)
    assert seen == {"text": "weights", "refused": "Read-only file system", "new": "Read-only file system"}
    assert names(above) == before
    assert "modelyard" not in Path("/proc/self/mounts").read_text()


def test_everything_else_stays_as_it_was(folder: Path, user: int) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "link.sock"))
    (folder / "link.sock").chmod(0o777)
    listener.listen()

    def act() -> dict[str, Any]:
        os.chdir(folder)
        before = {"root": set(names("/")), "devices": set(names("/dev"))}
        who = (os.getuid(), os.getgid(), os.getpgid(0), os.getpid())
        view.enter([shows(folder / "weights", f"{PLACE}/x")])
        (folder / "project" / "made").write_text("made")
        Path("/dev/null").write_text("gone")
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(folder / "link.sock"))
        return {
            "cwd": str(Path.cwd()),
            "lost": sorted(before["root"] - set(names("/"))),
            "more": sorted(set(names("/")) - before["root"]),
            "devices": before["devices"] == set(names("/dev")),
            "proc": Path("/proc/self/status").read_text().split("\n")[0].startswith("Name"),
            "same": who == (os.getuid(), os.getgid(), os.getpgid(0), os.getpid()),
            "owner": (folder / "project" / "made").stat().st_uid,
        }

    seen = child(act, user)
    listener.close()
    assert seen == {
        "cwd": str(folder),
        "lost": [],
        "more": [PLACE[1:]],
        "devices": True,
        "proc": True,
        "same": True,
        "owner": user,
    }
    assert (folder / "project" / "made").stat().st_uid == user


def test_a_writable_folder_is_the_folder_itself(folder: Path, user: int) -> None:
    def act() -> None:
        view.enter([shows(folder / "project", PLACE, writable=True), shows(folder / "weights", "/opt")])
        Path(PLACE, "made.txt").write_text("by the model")

    child(act, user)
    assert (folder / "project" / "made.txt").read_text() == "by the model"


def test_a_folder_inside_of_one_that_is_shown_is_seen_at_both_places(folder: Path, user: int) -> None:
    (folder / "project" / "x").mkdir()

    def act() -> list[str]:
        view.enter(
            [
                shows(folder / "weights", str(folder / "project" / "x")),
                shows(folder / "project", PLACE, writable=True),
            ]
        )
        return [Path(PLACE, "x", "a.bin").read_text(), (folder / "project" / "x" / "a.bin").read_text()]

    assert child(act, user) == ["weights", "weights"]
    assert not list((folder / "project" / "x").iterdir())


def test_who_is_no_root_has_no_rights_more_than_before(folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")

    def act() -> str:
        view.enter([shows(folder / "weights", PLACE)])
        return Path("/proc/self/status").read_text()

    effective = next(line for line in child(act, NOBODY).splitlines() if line.startswith("CapEff"))
    assert int(effective.split()[1], 16) == 0


def test_a_child_of_that_process_can_be_found_and_killed_from_outside(folder: Path, user: int) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        become(user)
        view.enter([shows(folder / "weights", PLACE)])
        os.write(writer, b".")
        os.execve("/bin/sleep", ["sleep", "100"], {"MARK": "here"})
    os.read(reader, 1)
    while b"MARK=here" not in Path(f"/proc/{pid}/environ").read_bytes():
        pass
    os.kill(pid, 9)
    assert os.waitpid(pid, 0)[1] == 9


@pytest.mark.parametrize(
    ("target", "words"),
    [("/etc/hostname", "is there already and is no folder"), ("/etc/hostname/x", "/etc/hostname is no folder")],
)
def test_a_target_that_cannot_be_is_refused(folder: Path, target: str, words: str) -> None:
    assert words in (view.trial([shows(folder / "weights", target)]) or "")


def test_a_folder_that_is_not_there_is_refused(folder: Path) -> None:
    reason = view.trial([shows(folder / "none", PLACE)])
    assert reason == f"{folder}/none cannot be shown at {PLACE}: No such file or directory"


def test_a_trial_leaves_this_process_as_it_was(folder: Path, user: int) -> None:
    def act() -> list[Any]:
        return [view.trial([shows(folder / "weights", PLACE)]), Path(PLACE).exists()]

    assert child(act, user) == [None, False]


READS = """
import os
import subprocess


def run(path: str) -> str:
    below = subprocess.run(["cat", f"{path}/a.bin"], capture_output=True, text=True).stdout
    return f"{open(f'{path}/a.bin').read()} {below} {os.getcwd()}"
"""


@pytest.mark.anyio
async def test_a_worker_and_what_it_starts_see_a_folder(folder: Path) -> None:
    (folder / "project" / "run.py").write_text(READS)
    mounts = view.arrange(folder / "project", [(str(folder / "weights"), f"{PLACE}/x")])
    async with supervised("run.py:run", root=folder / "project", mounts=mounts) as supervisor:
        done = await run(supervisor, {"path": f"{PLACE}/x"})
        assert isinstance(done, frames.Done)
        assert json.loads(bytes(done.output)) == f"weights weights {folder}/project"
    assert not Path(PLACE).exists()


@pytest.mark.anyio
async def test_a_worker_that_cannot_see_its_folder_says_why(folder: Path) -> None:
    mounts = [shows(folder / "none", PLACE)]
    async with supervised("basic.py:Runner", mounts=mounts, ready=False) as supervisor:
        assert await supervisor.settled() == "SETUP_FAILED"
        assert f"{folder}/none cannot be shown at {PLACE}: No such file or directory" in supervisor.error
