"""What one process and its children see of the disk: folders at paths of their own, the rest as it is.

On Linux a process may have a mount namespace of its own. What is mounted there nobody else sees, and it is gone with
the last process in it, however that ends. Who is not root makes a user namespace as well, in which he stays who he is.

A path that does not exist is made where nobody sees it: the folder that should hold it is covered by one in memory that
shows all that it held, and more. For a path such as `/src` that folder is the root of the disk.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Where Cog has the project in every container; targets there are meant to lie inside of it.
PROJECT = "/src"

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000  # CLONE_NEWNS and CLONE_NEWUSER
_READ_ONLY, _REMOUNT, _BIND, _WITH_ALL_BELOW, _SLAVE = 1, 32, 4096, 16384, 1 << 19
_DETACH = 2
_KEPT_FLAGS = 0x0E  # nosuid, nodev and noexec: who is not root may not take them off, so each remount names them
_CAPABILITIES = 0x20080522
# `pivot_root` has no function in the C library.
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217, "armv7l": 218, "i686": 217}
_OLD = "/.modelyard-old"


class ViewError(Exception):
    """The folders cannot be shown; the text says why."""


def arrange(root: Path, folders: Sequence[tuple[str, str]]) -> tuple[dict[str, Any], ...]:
    """The mounts that show each `(folder, target)` to a model whose project is `root`.

    A target below `/src` lies in the project, which is then seen at `/src` as well as at its own place.
    """
    places = [in_project(root, target) for _, target in folders]
    mounts: list[dict[str, Any]] = [
        {"source": folder, "target": target if place is None else str(place)}
        for (folder, target), place in zip(folders, places, strict=True)
    ]
    if any(place is not None for place in places):
        mounts.append({"source": str(root), "target": PROJECT, "writable": True})
    return tuple(mounts)


def in_project(root: Path, target: str) -> Path | None:
    """Where in the project a target lies; None for one that does not."""
    inside = target.startswith(f"{PROJECT}/") and not root.is_relative_to(PROJECT)
    return root / target[len(PROJECT) + 1 :] if inside else None


def enter(mounts: Sequence[Mapping[str, Any]]) -> None:
    """From now on this process sees the folder `source` at the absolute path `target`, for each of `mounts` in turn.

    Read-only, unless it is `writable`. Only for a process that has no second thread yet. Raises ViewError.
    """
    try:
        folder = os.getcwd()  # noqa: PTH109 - a text is wanted
        view = _View()
        for mount in mounts:
            view.show(mount["source"], mount["target"], writable=mount.get("writable", False))
        view.done()
        os.chdir(folder)
    except OSError as error:
        raise ViewError(f"folders cannot be shown to the model alone: {error}") from None


def trial(mounts: Sequence[Mapping[str, Any]]) -> str | None:
    """Why `enter` would fail, found out by a child that tries it; None: it would not."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _try(mounts, writer)
    os.close(writer)
    with open(reader, "rb") as said:  # noqa: PTH123 - a descriptor
        text = said.read().decode("utf-8", "replace")
    os.waitpid(child, 0)
    return text.strip() or None


def _try(mounts: Sequence[Mapping[str, Any]], writer: int) -> None:
    try:
        enter(mounts)
    except BaseException as error:  # the border of a forked child, which must not come back
        os.write(writer, (str(error) or type(error).__name__).encode("utf-8", "replace"))
    finally:
        os._exit(0)


class _View:
    """A mount namespace that this process has just gone into."""

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise ViewError("only Linux lets a process see folders that others do not")
        try:
            import ctypes  # slow to load, and of no use to `arrange`
        except ImportError as error:
            raise ViewError(f"this Python has no ctypes ({error})") from None
        self._ctypes = ctypes
        self._libc = ctypes.CDLL(None, use_errno=True)
        # The devices of folders in memory that are ours: there is room for more in them.
        self._ours: set[int] = set()
        uid, gid = os.geteuid(), os.getegid()
        try:
            self._unshare(_NEW_MOUNTS)
            self._guest = False
        except OSError:
            self._go_into_user_namespace(uid, gid)
            self._guest = uid != 0
        # What the host mounts later is seen here too, but not the other way round.
        self._mount(None, "/", None, _SLAVE | _WITH_ALL_BELOW)

    def _unshare(self, flags: int) -> None:
        self._check(self._libc.unshare(flags), "unshare")

    def _go_into_user_namespace(self, uid: int, gid: int) -> None:
        try:
            self._unshare(_NEW_MOUNTS | _NEW_USER)
            # The kernel wants this before a group is mapped: who could leave a group might get past its lack of rights.
            for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
                Path(f"/proc/self/{name}").write_text(text)
        except OSError as error:
            raise ViewError(
                f"this machine does not let user {uid} make a mount namespace "
                f"({error.strerror or error}); user namespaces must be allowed"
            ) from None

    def show(self, source: str, target: str, *, writable: bool) -> None:
        """Bind one folder."""
        try:
            self._make_room(target)
            self._mount(source, target, None, _BIND | _WITH_ALL_BELOW)
            if not writable:
                kept = os.statvfs(target).f_flag & _KEPT_FLAGS
                self._mount(None, target, None, _REMOUNT | _BIND | _READ_ONLY | kept)
        except OSError as error:
            raise ViewError(f"{source} cannot be shown at {target}: {error.strerror or error}") from None

    def done(self) -> None:
        """Give back the rights that a namespace's maker has in it: the model gets none by being shown a folder."""
        if self._guest:
            word = self._ctypes.c_uint32
            self._check(self._libc.capset((word * 2)(_CAPABILITIES, 0), (word * 6)()), "capset")

    # Room for a target that is not there -----------------------------------------------------------------------

    def _make_room(self, target: str) -> None:
        if os.path.isdir(target):  # noqa: PTH112
            return
        if os.path.lexists(target):
            raise ViewError(f"{target} is there already and is no folder")
        above = os.path.dirname(target)  # noqa: PTH120
        while not os.path.isdir(above):  # noqa: PTH112
            if os.path.lexists(above):
                raise ViewError(f"{target} cannot be made: {above} is no folder")
            above = os.path.dirname(above)  # noqa: PTH120
        if _device(above) not in self._ours:
            self._replace_root() if above == "/" else self._cover(os.path.realpath(above))
        os.makedirs(target)  # noqa: PTH103

    def _cover(self, folder: str) -> None:
        """Put a folder in memory over this one, with all of its entries."""
        covered = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            entries = _entries(folder)
            mode = stat.S_IMODE(os.fstat(covered).st_mode)
            self._mount("modelyard", folder, "tmpfs", 0, f"mode={mode:o}")
            self._ours.add(_device(folder))
            for name in entries:
                self._repeat(f"/proc/self/fd/{covered}/{name}", f"{folder}/{name}")
        finally:
            os.close(covered)

    def _replace_root(self) -> None:
        """A root in memory that has all that the root had. It is made over `/tmp`, which is there on every machine."""
        self._mount("modelyard", "/tmp", "tmpfs", 0, "mode=755")  # noqa: S108
        os.mkdir(f"/tmp{_OLD}")  # noqa: S108, PTH102
        number = _PIVOT_ROOT.get(os.uname().machine)
        if number is None:
            raise ViewError(f"how to change the root is not known for {os.uname().machine}")
        os.chdir("/")
        self._check(self._libc.syscall(number, b"/tmp", f"/tmp{_OLD}".encode()), "pivot_root")  # noqa: S108
        self._ours.add(_device("/"))
        for name in _entries(_OLD):
            self._repeat(f"{_OLD}/{name}", f"/{name}")
        self._check(self._libc.umount2(_OLD.encode(), _DETACH), "umount")
        os.rmdir(_OLD)  # noqa: PTH106

    def _repeat(self, entry: str, place: str) -> None:
        """Have at `place` what is at `entry`."""
        mode = os.lstat(entry).st_mode
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(entry), place)  # noqa: PTH115, PTH211
            return
        if stat.S_ISDIR(mode):
            os.mkdir(place)  # noqa: PTH102
        else:
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
        self._mount(entry, place, None, _BIND | _WITH_ALL_BELOW)

    # The C library ---------------------------------------------------------------------------------------------

    def _mount(self, source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
        texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
        result = self._libc.mount(texts[0], texts[1], texts[2], self._ctypes.c_ulong(flags), texts[3])
        self._check(result, f"mount {target}")

    def _check(self, result: int, what: str) -> None:
        if result != 0:
            number = self._ctypes.get_errno()
            raise OSError(number, os.strerror(number), what)


def _device(folder: str) -> int:
    return os.stat(folder).st_dev  # noqa: PTH116


def _entries(folder: str) -> list[str]:
    """The names in a folder; none where this user may not look, who then cannot miss them."""
    try:
        return os.listdir(folder)  # noqa: PTH208
    except PermissionError:
        return []
