"""Layers unpacked into a folder, whoever made them: nothing is ever written outside of that folder.

Refused: absolute names, `..`, links that lead out, anything below a link, devices, pipes and sockets; and what grows
without measure when it is unpacked: names of megabytes, millions of members, more bytes than the disk has room for.
"""

from __future__ import annotations

import errno
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Self

from modelyard import errors

PIECE = 1024 * 1024
# A long name, or what else a member has besides its header, is read into memory whole.
MAX_NAME_BYTES = 1024 * 1024
MAX_MEMBERS = 1_000_000
# How much is written before somebody asks again whether the disk has room.
_LOOK_BYTES = 64 * PIECE
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NAMES = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class UnpackError(errors.Invalid):
    """A layer holds what no layer of a model may hold, or is broken; the detail names the member."""

    code = "layer_invalid"
    title = "Layer invalid"


class SmallInfo(tarfile.TarInfo):
    """A member whose name has a measure: a few kilobytes may unpack to a name of gigabytes."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.type in _NAMES and found.size > MAX_NAME_BYTES:
            raise UnpackError(f"the layer has a name of {found.size} bytes; at most {MAX_NAME_BYTES} are taken")
        if found.type == tarfile.GNUTYPE_SPARSE:
            raise UnpackError(f"{found.name!r} is a file with holes, of which the list has no measure")
        return found


def unpack(
    archive: Path,
    into: Path,
    below: str = "",
    *,
    has_room: Callable[[], bool] = lambda: True,
    most_members: int = MAX_MEMBERS,
) -> None:
    """Unpack a plain or gzip-compressed archive into the folder `into`, which this process alone writes to.

    `below`: take only members below this folder of the archive, named from there. A member that is there already is
    replaced, as a later layer does. `has_room`: may the disk take more? Raises UnpackError; OutOfSpace, with a part of
    it unpacked, where it may not.
    """
    work = _Unpacking(into, PurePosixPath(below), has_room, most_members)
    try:
        with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r|*", tarinfo=SmallInfo) as members:
            for member in members:
                work.add(members, member)
                members.members = []  # type: ignore[attr-defined]  # the library would remember all that it passes
    except (tarfile.TarError, EOFError) as error:
        raise UnpackError(f"the layer cannot be read: {error}") from None
    except OSError as error:
        if error.errno is None:  # gzip's own complaints are OSErrors without a number
            raise UnpackError(f"the layer cannot be read: {error}") from None
        if error.errno in _FULL:
            raise _out_of_space() from None
        raise


def _out_of_space() -> errors.OutOfSpace:
    return errors.OutOfSpace(
        "There is not enough room on the disk to unpack the version.",
        hint="Make room on the disk that holds the data folder; `yard prune` removes what nothing needs.",
    )


class _Unpacking:
    def __init__(self, into: Path, below: PurePosixPath, has_room: Callable[[], bool], most_members: int) -> None:
        self._into = into
        self._below = below
        self._has_room = has_room
        self._links: set[PurePosixPath] = set()
        self._members_left = most_members
        self._unseen = _LOOK_BYTES

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self._members_left -= 1
        if self._members_left < 0:
            raise UnpackError("the layer has more members than any model has")
        name = self._name(member.name)
        if name is None:
            return
        if any(parent in self._links for parent in name.parents):
            raise UnpackError(f"{member.name!r} lies below a link")
        target = self._into / name
        if member.isdir():
            self._folder(target, name)
        elif member.isreg():
            self._file(archive, member, target)
        elif member.issym():
            self._symlink(member, target, name)
        elif member.islnk():
            self._hard_link(member, target)
        else:
            raise UnpackError(f"{member.name!r} is a device, pipe or socket")

    def _name(self, text: str) -> PurePosixPath | None:
        path = PurePosixPath(text)
        if path.is_absolute() or ".." in path.parts or "\0" in text:
            raise UnpackError(f"{text!r} leads out of the folder")
        if not path.is_relative_to(self._below) or path == self._below:
            return None
        return path.relative_to(self._below)

    def _folder(self, target: Path, name: PurePosixPath) -> None:
        if name in self._links or target.is_file():
            self._remove(target, name)
        target.mkdir(parents=True, exist_ok=True)

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
        self._make_room(target)
        source = archive.extractfile(member)
        if source is None:
            raise UnpackError(f"{member.name!r} has no content")
        with source, target.open("xb") as file:
            self._copy(source, file, member)
        target.chmod(0o755 if member.mode & 0o111 else 0o644)

    def _copy(self, source: IO[bytes], file: IO[bytes], member: tarfile.TarInfo) -> None:
        left = member.size
        while left > 0:
            piece = source.read(min(PIECE, left))
            if not piece:
                raise UnpackError(f"{member.name!r} is cut short")
            self._measure(len(piece))
            left -= len(piece)
            file.write(piece)

    def _measure(self, size: int) -> None:
        self._unseen += size
        if self._unseen >= _LOOK_BYTES:
            self._unseen = 0
            if not self._has_room():
                raise _out_of_space()

    def _symlink(self, member: tarfile.TarInfo, target: Path, name: PurePosixPath) -> None:
        if not _stays_inside(name.parent, member.linkname):
            raise UnpackError(f"{member.name!r} links to {member.linkname!r}, which is outside")
        self._make_room(target)
        target.symlink_to(member.linkname)
        self._links.add(name)

    def _hard_link(self, member: tarfile.TarInfo, target: Path) -> None:
        name = self._name(member.linkname)
        if name is None or name in self._links or any(parent in self._links for parent in name.parents):
            raise UnpackError(f"{member.name!r} links to {member.linkname!r}, which is outside")
        origin = self._into / name
        if not origin.is_file():
            raise UnpackError(f"{member.name!r} links to {member.linkname!r}, which is not there")
        if origin == target:
            return
        self._measure(origin.stat().st_size)
        self._make_room(target)
        shutil.copy2(origin, target)

    def _make_room(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink() or target.exists():
            self._remove(target, PurePosixPath(target.relative_to(self._into).as_posix()))

    def _remove(self, target: Path, name: PurePosixPath) -> None:
        self._links.discard(name)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
            self._links = {link for link in self._links if name not in link.parents}
        else:
            target.unlink()


def _stays_inside(folder: PurePosixPath, link: str) -> bool:
    """Does a link in `folder` lead to something inside? Read by its text: what it names need not exist.

    `..` may stand at the front only: after a name that is itself a link it would not lead where the text says.
    """
    path = PurePosixPath(link)
    ups = next((number for number, part in enumerate(path.parts) if part != ".."), len(path.parts))
    return not path.is_absolute() and "\0" not in link and ".." not in path.parts[ups:] and ups <= len(folder.parts)
