"""Managed weights of a version, in folders of links to the files of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modelyard.oci.managed import Weight, WeightsError


def link(weights: Sequence[Weight], layers: Path, into: Path) -> tuple[tuple[Path, str], ...]:
    """Make a folder for each weight below `into`, of links to files of `layers`; gives them with their targets.

    Raises WeightsError for a file that its layer does not have.
    """
    folders = []
    for number, weight in enumerate(weights):
        folder = into / str(number)
        folder.mkdir(parents=True)
        for path, layer in weight.files:
            _link(layers / layer.partition(":")[2] / path, folder / path, weight.name)
        folders.append((folder, weight.target))
    return tuple(folders)


def _link(source: Path, place: Path, weight: str) -> None:
    if source.is_symlink() or not source.is_file():
        raise WeightsError(f'weight "{weight}": a layer has no file {source.name}', hint="Push the project again.")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.hardlink_to(source)
