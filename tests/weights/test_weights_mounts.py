"""Weights at their targets: what stands in `.cog/mounts`, what is made elsewhere, and that nothing of it stays."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import weights_project
from weights_project import BASE, Weight

from modelyard.weights import mounts
from modelyard.weights.mounts import Mount, Mounts, NoPlaceError, NotCachedError, Shown
from modelyard_runner import view

NUMBERS = itertools.count()


def number() -> str:
    return f"{next(NUMBERS):016x}"


def works(_: Sequence[Mount]) -> str | None:
    return None


def refuses(_: Sequence[Mount]) -> str | None:
    return "this machine has no mount namespaces"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def room(root: Path, trial: Callable[[Sequence[Mount]], str | None] = works, home: str = "/nowhere") -> Mounts:
    return Mounts(root, home=home, trial=trial, name="yard")


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def sources(shown: Shown) -> list[Path]:
    return [Path(mount["source"]) for mount in shown.mounts if not mount.get("writable")]


def test_a_target_below_src_lies_in_the_project_which_is_seen_there_too(root: Path) -> None:
    assert view.arrange(root, [("/m/1", "/src/weights/a"), ("/m/2", "/models/b")]) == (
        {"source": "/m/1", "target": f"{root}/weights/a"},
        {"source": "/m/2", "target": "/models/b"},
        {"source": str(root), "target": "/src", "writable": True},
    )


@pytest.mark.parametrize("target", ["/models/b", "/srcs/b", "/src"])
def test_other_targets_need_no_project(root: Path, target: str) -> None:
    assert view.arrange(root, [("/m/2", target)]) == ({"source": "/m/2", "target": target},)


def test_a_project_that_lies_below_src_stays_where_it_is() -> None:
    assert view.arrange(Path("/src/p"), [("/m/2", "/src/w")]) == ({"source": "/m/2", "target": "/src/w"},)


def test_the_folder_has_the_files_of_the_lock_and_none_is_copied(root: Path, tmp_path: Path) -> None:
    cache = weights_project.keep(tmp_path / "store", BASE)
    with room(root).shown([BASE.locked], cache, number) as shown:
        (folder,) = sources(shown)
        assert folder.parent == root / ".cog" / "mounts"
        assert everything(folder) == ["a.txt", "sub", "sub/b.txt"]
        for file in BASE.locked.files:
            assert (folder / file.path).samefile(cache.path(file.digest))
        assert (root / "weights" / "base").is_dir()
    assert everything(root) == [".cog", ".cog/mounts"]


def test_what_was_there_before_stays(root: Path, tmp_path: Path) -> None:
    (root / "weights").mkdir()
    cache = weights_project.keep(tmp_path / "store", BASE)
    with room(root).shown([BASE.locked], cache, number):
        (root / "weights" / "mine").write_text("by the model")
    assert everything(root / "weights") == ["mine"]


def test_the_end_of_one_run_takes_nothing_from_another(root: Path, tmp_path: Path) -> None:
    cache = weights_project.keep(tmp_path / "store", BASE)
    first, second = (room(root).shown([BASE.locked], cache, number) for _ in range(2))
    first.__enter__()
    (folder,) = sources(second.__enter__())
    first.__exit__(None, None, None)
    assert everything(folder) == ["a.txt", "sub", "sub/b.txt"]
    assert (root / "weights" / "base").is_dir(), "the other's mount would end with it"
    second.__exit__(None, None, None)
    assert everything(root) == [".cog", ".cog/mounts"]


def test_a_place_that_two_projects_share_stays_as_long_as_one_needs_it(tmp_path: Path) -> None:
    shared = Weight(name="base", target=str(tmp_path / "home" / "weights"), files={"a": b"a"})
    cache = weights_project.keep(tmp_path / "store", shared)
    opened = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        opened.append(room(tmp_path / name, home=str(tmp_path / "home")).shown([shared.locked], cache, number))
        opened[-1].__enter__()
    opened[0].__exit__(None, None, None)
    assert (tmp_path / "home" / "weights").is_dir()
    opened[1].__exit__(None, None, None)


@pytest.mark.parametrize("trial", [works, refuses])
def test_what_somebody_who_was_killed_left_is_taken_away_by_the_next(
    root: Path, tmp_path: Path, trial: Callable[[Sequence[Mount]], str | None]
) -> None:
    inside = Weight(name="base", target=str(root / "deep" / "base"), files={"a": b"a"})
    cache = weights_project.keep(tmp_path / "store", inside)
    pid = os.fork()
    if pid == 0:
        held = room(root, trial).shown([inside.locked], cache, number)
        held.__enter__()
        os.kill(os.getpid(), 9)
    assert os.waitpid(pid, 0)[1] == 9
    assert (root / "deep" / "base").exists()
    with room(root).shown([], cache, number):
        assert everything(root) == [".cog", ".cog/mounts"]


def test_a_process_that_inherited_the_locks_keeps_its_folders(root: Path, tmp_path: Path) -> None:
    cache = weights_project.keep(tmp_path / "store", BASE)
    reader, writer = os.pipe()
    with room(root).shown([BASE.locked], cache, number) as shown:
        (folder,) = sources(shown)
        pid = os.fork()
        if pid == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    assert folder.is_dir()
    os.close(writer)
    os.waitpid(pid, 0)
    room(root).sweep()
    assert not folder.exists()


def test_a_missing_file_is_named(root: Path, tmp_path: Path) -> None:
    cache = weights_project.keep(tmp_path / "store", BASE)
    cache.path(BASE.locked.files[1].digest).unlink()
    words = """weight "base" is not fully cached locally (missing sub/b.txt); run 'yard weights pull' first"""
    with pytest.raises(NotCachedError) as refused:
        mounts.require_cached([BASE.locked], cache, "yard")
    assert refused.value.detail == words
    with pytest.raises(NotCachedError) as refused, room(root).shown([BASE.locked], cache, number):
        pass
    assert refused.value.detail == words
    assert everything(root) == [".cog", ".cog/mounts"]


def test_a_file_that_was_cut_short_is_missing(tmp_path: Path) -> None:
    cache = weights_project.keep(tmp_path / "store", BASE)
    path = cache.path(BASE.locked.files[0].digest)
    path.unlink()
    path.write_bytes(b"all")
    with pytest.raises(NotCachedError, match=r"missing a\.txt"):
        mounts.require_cached([BASE.locked], cache, "yard")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def test_on_another_file_system_the_links_lie_beside_the_store(root: Path, elsewhere: Path) -> None:
    cache = weights_project.keep(elsewhere, BASE)
    with room(root).shown([BASE.locked], cache, number) as shown:
        (folder,) = sources(shown)
        assert everything(folder.resolve()) == ["a.txt", "sub", "sub/b.txt"]
        assert (folder / "a.txt").samefile(cache.path(BASE.locked.files[0].digest))
        assert not (folder / "a.txt").is_symlink()
    assert everything(root) == [".cog", ".cog/mounts"]
    assert not list((elsewhere / "weights" / "mounts").iterdir())


# Where no process can have mounts of its own


def test_without_mounts_a_link_leads_to_the_files(root: Path, tmp_path: Path) -> None:
    inside = Weight(name="base", target=str(root / "deep" / "base"), files={"a": b"a"})
    cache = weights_project.keep(tmp_path / "store", inside)
    with room(root, refuses).shown([inside.locked], cache, number) as shown:
        assert shown.mounts == ()
        assert (root / "deep" / "base" / "a").read_bytes() == b"a"
    assert everything(root) == [".cog", ".cog/mounts"]


def test_without_mounts_what_is_in_the_way_is_refused(root: Path, tmp_path: Path) -> None:
    inside = Weight(name="base", target=str(root / "base"), files={"a": b"a"})
    (root / "base").mkdir()
    cache = weights_project.keep(tmp_path / "store", inside)
    with pytest.raises(NoPlaceError) as refused, room(root, refuses).shown([inside.locked], cache, number):
        pass
    assert "this machine has no mount namespaces" in refused.value.detail
    assert f"{root / 'base'} (something is there already)" in refused.value.detail
    assert everything(root) == [".cog", ".cog/mounts", "base"]


def test_without_mounts_a_place_that_nobody_may_make_is_refused(root: Path, tmp_path: Path) -> None:
    nowhere = Weight(name="base", target="/proc/nowhere/base", files={"a": b"a"})
    cache = weights_project.keep(tmp_path / "store", nowhere)
    with pytest.raises(NoPlaceError, match="weights cannot be shown at /proc/nowhere/base") as refused:
        room(root, refuses).shown([nowhere.locked], cache, number).__enter__()
    assert "`target`" in (refused.value.hint or "")
    assert everything(root) == [".cog", ".cog/mounts"]


@pytest.mark.skipif(os.getuid() != 0 or os.path.lexists("/src"), reason="only root makes /src, where there is none")
def test_without_mounts_src_leads_to_the_project(root: Path, tmp_path: Path) -> None:
    cache = weights_project.keep(tmp_path / "store", BASE)
    with room(root, refuses).shown([BASE.locked], cache, number):
        assert Path("/src").readlink() == root
        assert Path("/src/weights/base/a.txt").read_bytes() == b"all of a"
    assert not os.path.lexists("/src")
    assert everything(root) == [".cog", ".cog/mounts"]
