"""The files of one prediction, under `scratch/predictions/<id>/`: made when the first one is needed."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path


class Folder:
    """Where a prediction's input and output files are put, each in a folder of its own so that it keeps its name."""

    def __init__(self, scratch: str, prediction: str) -> None:
        self._scratch = scratch
        self._prediction = prediction
        self._numbers = itertools.count()  # files may be fetched by several threads
        self._has_inputs = False

    def new(self, kind: str, name: str) -> str:
        """A path, in a fresh folder, for an `inputs` or `outputs` file. Raises ValueError when the id is no name."""
        prediction = self._prediction
        if not prediction or prediction in (".", "..") or "/" in prediction or "\0" in prediction:
            raise ValueError(f"the id {prediction!r} is not a name")
        folder = f"{self._scratch}/predictions/{prediction}/{kind}/{next(self._numbers)}"
        self._has_inputs = self._has_inputs or kind == "inputs"
        Path(folder).mkdir(parents=True)
        return f"{folder}/{name}"

    def bring(self, source: str, target: str) -> None:
        """Makes a file of this disk the prediction's own: moved where it was put for it alone, else copied.

        Raises OSError.
        """
        if source.startswith(f"{self._scratch}/inputs/"):
            with contextlib.suppress(OSError):
                os.rename(source, target)  # noqa: PTH104 - once a file, and pathlib is slower
                return
        copy_file(source, target)

    def forget_inputs(self) -> None:
        """Removes what was fetched for the prediction: it is over."""
        if self._has_inputs:
            remove_tree(f"{self._scratch}/predictions/{self._prediction}/inputs")

    def forget(self) -> None:
        """Removes all of it."""
        if self._has_inputs:
            remove_tree(f"{self._scratch}/predictions/{self._prediction}")


def remove_tree(top: str) -> None:
    """Removes a folder and all in it, as far as that is allowed (links are removed, not followed)."""
    for folder, folders, files in os.walk(top, topdown=False):
        for name in files:
            with contextlib.suppress(OSError):
                os.unlink(f"{folder}/{name}")  # noqa: PTH108 - once a file, and pathlib is slower
        for name in folders:
            _remove_folder(f"{folder}/{name}")
    _remove_folder(top)


def _remove_folder(path: str) -> None:
    with contextlib.suppress(OSError):
        if Path(path).is_symlink():
            Path(path).unlink()
        else:
            Path(path).rmdir()


def copy_file(source: str, target: str) -> int:
    """Copies bytes as cheaply as the file system allows; gives their number. Raises OSError."""
    with open(source, "rb") as reader, open(target, "wb") as writer:  # noqa: PTH123 - descriptors are what is wanted
        size = os.fstat(reader.fileno()).st_size
        if not (size and _copy_in_kernel(reader.fileno(), writer.fileno(), size)):
            reader.seek(0)
            writer.truncate(0)
            while piece := reader.read(1024 * 1024):
                writer.write(piece)
            return writer.tell()
        return size


def _copy_in_kernel(reader: int, writer: int, size: int) -> bool:
    copy = getattr(os, "copy_file_range", None)  # Linux; shares the blocks where the file system can
    if copy is None:
        return False
    left = size
    try:
        while left:
            copied = copy(reader, writer, left)
            if not copied:
                break
            left -= copied
    except OSError:
        return False
    return not left
