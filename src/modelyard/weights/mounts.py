"""A project's weights where its model looks for them, for as long as it runs here.

    .cog/mounts/<16 hex>/        one weight's folder: hard links to the store's files
    .cog/mounts/<16 hex>.made    what was made elsewhere to have a place for it, one JSON text a line

Where a process can see folders that others do not (`modelyard_runner.view`), these folders are mounted for the model
alone. Elsewhere links lead to them, at the targets themselves. Whoever runs holds a lock on his folders; a folder that
nobody holds is what somebody who was killed has left, and the next one takes it away.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modelyard import errors
from modelyard.weights.cache import Cache
from modelyard.weights.lock import LockedWeight
from modelyard_runner import view

FOLDER: Final = ".cog/mounts"
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - only compared
_HEX = re.compile(r"[0-9a-f]{16}")
_MADE = ".made"
# Kinds of links that lead to files from anywhere.
_LINKS = ("hard", "beside")

Mount = Mapping[str, Any]


class NotCachedError(errors.ModelyardError):
    """A file of a weight is not on this machine."""

    code = "weights_not_cached"
    title = "Weights are missing"


class NoPlaceError(errors.ModelyardError):
    """Weights cannot be shown where the model looks for them."""

    code = "weights_no_place"
    title = "Weights cannot be shown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the model's process is to see: `mounts` as `view.enter` takes them, none where links do.

    `locks`: descriptors that a process may inherit which outlives this one; what it sees is then kept for it.
    """

    mounts: tuple[Mount, ...] = ()
    locks: tuple[int, ...] = ()


def require_cached(weights: Sequence[LockedWeight], cache: Cache, program: str) -> None:
    """Raises NotCachedError for the first file that the store lacks."""
    for weight in weights:
        for file in weight.files:
            if not cache.has(file.digest, file.size):
                raise _not_cached(weight.name, file.path, program)


def _not_cached(name: str, path: str, program: str) -> NotCachedError:
    return NotCachedError(
        f"weight \"{name}\" is not fully cached locally (missing {path}); run '{program} weights pull' first"
    )


class Mounts:
    """What stands in a project's `.cog/mounts`. `home`: the user's; `trial` tells why mounts cannot be made here."""

    def __init__(self, root: Path, *, home: str, trial: Callable[[Sequence[Mount]], str | None], name: str) -> None:
        self._root = root
        self._folder = root / FOLDER
        self._lasting = tuple(Path(path) for path in (str(root), home, *_TEMPORARY) if path not in ("", "/"))
        self._trial = trial
        self._name = name

    @contextlib.contextmanager
    def shown(self, weights: Sequence[LockedWeight], cache: Cache, new_id: Callable[[], str]) -> Iterator[Shown]:
        """Weights, at their targets until this is left. Raises NotCachedError, NoPlaceError."""
        held = _Held()
        try:
            with self._alone():
                self.sweep()
                shown = self._show(weights, cache, new_id, held)
            yield shown
        finally:
            self._release(held)

    @contextlib.contextmanager
    def apart(
        self, weights: Sequence[LockedWeight], cache: Cache, new_id: Callable[[], str], *, is_project: bool = True
    ) -> Iterator[tuple[tuple[Path, str], ...]]:
        """Folders with their targets, until this is left, for whoever mounts them: a container, which sees the project
        at `/src`. Raises NotCachedError, NoPlaceError."""
        held = _Held()
        try:
            with self._alone():
                self.sweep()
                for weight in weights:
                    self._hold(weight, cache, new_id(), held, _LINKS)
                    if is_project and weight.target.startswith(f"{view.PROJECT}/"):
                        # Else the engine makes a folder there, which would be root's and stay.
                        self._make_folder(self._root / weight.target[len(view.PROJECT) + 1 :], held)
            folders = zip(held.names, weights, strict=True)
            yield tuple(((self._folder / hex_).resolve(), weight.target) for hex_, weight in folders)
        finally:
            self._release(held)

    def sweep(self) -> None:
        """Take away what was left behind by somebody who is no more."""
        for name in sorted(path.name for path in self._folder.iterdir()):
            hex_ = name.removesuffix(_MADE)
            if _HEX.fullmatch(hex_) and (lock := _lock(self._folder / hex_)) is not None:
                self._remove(hex_)
                if lock >= 0:
                    os.close(lock)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder, os.O_RDONLY)
        except OSError as error:
            raise NoPlaceError(
                f"{self._folder} cannot be used: {error.strerror}", hint="the project's folder must be yours to write"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _show(self, weights: Sequence[LockedWeight], cache: Cache, new_id: Callable[[], str], held: _Held) -> Shown:
        folders = []
        for weight in weights:
            hex_ = new_id()
            self._hold(weight, cache, hex_, held, (*_LINKS, "symbolic"))
            folders.append((str(self._folder / hex_), weight.target))
        mounts = view.arrange(self._root, folders)
        reason = self._trial(mounts)
        if reason is not None:
            self._link(folders, reason, held)
            return Shown(locks=tuple(held.locks))
        for mount in mounts:
            self._make_place(Path(mount["target"]), held)
        return Shown(mounts=mounts, locks=tuple(held.locks))

    # A weight's folder -----------------------------------------------------------------------------------------

    def _hold(self, weight: LockedWeight, cache: Cache, hex_: str, held: _Held, kinds: Sequence[str]) -> None:
        held.names.append(hex_)
        self._fill(hex_, weight, cache, kinds)
        held.locks.append(os.open(self._folder / hex_, os.O_RDONLY))
        fcntl.flock(held.locks[-1], fcntl.LOCK_EX)

    def _fill(self, hex_: str, weight: LockedWeight, cache: Cache, kinds: Sequence[str]) -> None:
        folder = self._folder / hex_
        ways = {
            "hard": (folder, Path.hardlink_to),
            # On another disk the links lie where the files do; only the way there begins in the project.
            "beside": (cache.root / "mounts" / hex_, Path.hardlink_to),
            # A file system without hard links, or a store of somebody else's.
            "symbolic": (folder, Path.symlink_to),
        }
        for place, link in map(ways.__getitem__, kinds):
            try:
                place.mkdir(parents=True)
                if place != folder:
                    folder.symlink_to(place)
                _link_files(place, weight, cache, link)
            except OSError as error:
                failure = error
                _remove_folder(folder)
            else:
                break
        else:
            raise NoPlaceError(f"{folder} cannot be made: {failure}")
        for file in weight.files:
            if not (folder / file.path).is_file():
                raise _not_cached(weight.name, file.path, self._name)

    # Places on the disk ----------------------------------------------------------------------------------------

    def _make_place(self, target: Path, held: _Held) -> None:
        """Have a folder to mount on, where what a model writes beside it is to stay; elsewhere the view makes one."""
        if not any(target.is_relative_to(place) for place in self._lasting):
            return
        with contextlib.suppress(PermissionError):
            self._make_folder(target, held)
        with contextlib.suppress(OSError):
            # Whoever would remove it asks for this lock: a mount ends when the folder below it is removed.
            descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
            held.locks.append(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _make_folder(self, folder: Path, held: _Held) -> None:
        others = self._made_by_others()
        missing = [place for place in (folder, *folder.parents) if str(place) in others or not os.path.lexists(place)]
        for place in reversed(missing):
            self._record(held, str(place))
            try:
                place.mkdir(exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                raise NoPlaceError(f"the weights' place {folder} cannot be made: {place.parent} is no folder") from None
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise
                raise PermissionError(error.errno, error.strerror) from None

    def _link(self, folders: Sequence[tuple[str, str]], reason: str, held: _Held) -> None:
        """Without mounts of its own the model finds a link at the target."""
        for folder, target in folders:
            place = view.in_project(self._root, target)
            try:
                if place is not None:
                    self._make_link(Path(view.PROJECT), str(self._root), held)
                self._make_link(place or Path(target), folder, held)
            except OSError as error:
                raise NoPlaceError(
                    f"weights cannot be shown at {target}: {reason}, and no link can be made at "
                    f"{error.filename or target} ({error.strerror})",
                    hint="allow user namespaces, or give it a `target` in cog.yaml that you may write to",
                ) from None

    def _make_link(self, place: Path, to: str, held: _Held) -> None:
        if place.is_symlink() and str(place.readlink()) == to:
            if str(place) in self._made_by_others():
                self._record(held, str(place))
            return
        self._make_folder(place.parent, held)
        if os.path.lexists(place):
            raise OSError(errno.EEXIST, "something is there already", str(place))
        self._record(held, str(place))
        place.symlink_to(to)

    def _record(self, held: _Held, made: str) -> None:
        if made not in held.made:
            held.made.append(made)
            with self._made_file(held.names[0]).open("a") as file:
                file.write(json.dumps(made) + "\n")

    def _made_file(self, hex_: str) -> Path:
        return self._folder / f"{hex_}{_MADE}"

    def _made_by_others(self) -> set[str]:
        return {made for path in self._folder.glob(f"*{_MADE}") for made in _read_made(path)}

    # The end ---------------------------------------------------------------------------------------------------

    def _release(self, held: _Held) -> None:
        for descriptor in held.locks:
            os.close(descriptor)
        if not held.names:
            return
        with self._alone():
            for hex_ in held.names:
                lock = _lock(self._folder / hex_)
                if lock is not None:  # else a process that outlives this one goes on with it
                    self._remove(hex_)
                    if lock >= 0:
                        os.close(lock)

    def _remove(self, hex_: str) -> None:
        record = self._made_file(hex_)
        made = _read_made(record)
        record.unlink(missing_ok=True)
        needed = self._made_by_others()
        for path in reversed(made):
            if path not in needed:
                _unmake(Path(path))
        _remove_folder(self._folder / hex_)


class _Held:
    """What one run has: its folders' names, the locks on them, and what it made elsewhere, outermost first."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.locks: list[int] = []
        self.made: list[str] = []


def _link_files(folder: Path, weight: LockedWeight, cache: Cache, link: Callable[[Path, Path], None]) -> None:
    for file in weight.files:
        place = folder / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        link(place, cache.path(file.digest))


def _remove_folder(folder: Path) -> None:
    if folder.is_symlink():
        shutil.rmtree(folder.resolve(), ignore_errors=True)
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _lock(folder: Path) -> int | None:
    """A lock on a folder that nobody else has locked; -1 where there is no folder, None where somebody has."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _unmake(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_symlink():
            path.unlink()
            return
        lock = _lock(path)
        if lock is not None:
            path.rmdir()  # what somebody has put something into stays
            os.close(lock)


def _read_made(record: Path) -> list[str]:
    try:
        return [str(json.loads(line)) for line in record.read_text().splitlines()]
    except (OSError, ValueError):
        return []
