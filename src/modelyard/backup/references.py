"""What rows refer to outside of the database: blobs, by their keys, and journals, by their predictions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from modelyard import errors, ids
from modelyard.blobs.base import check_key
from modelyard.oci.manifest import blob_key, is_digest
from modelyard.predictions.outputs import Outputs

_OUTPUT = re.compile(r"/outputs/([0-9a-z]{26})/(\d{1,9})/[0-9a-f]+/([^\"\\/?#\s]+)")
_OPEN = ("starting", "processing")


class References:
    """Gathered row by row. `needed`: without these something that a row says is not true; `linked`: blobs that an
    input names, which may be another yard's, or gone; `journals`: ids of predictions."""

    def __init__(self) -> None:
        self.needed: set[str] = set()
        self.linked: set[str] = set()
        self.journals: list[str] = []

    def add(self, table: str, row: Mapping[str, Any]) -> None:
        """Take up what one row refers to."""
        if table in ("files", "manifests"):
            self.needed.add(row["blob_key"])
        elif table == "repository_blobs" and is_digest(row["digest"]):
            self.needed.add(blob_key(row["digest"]))
        elif table == "predictions":
            self._add_prediction(row)

    def _add_prediction(self, row: Mapping[str, Any]) -> None:
        own = f"outputs/{row['id']}/"
        self.needed.update(key for key in _output_keys(row["output"]) if key.startswith(own))
        self.linked.update(_output_keys(row["input"]))
        # One that has not ended starts anew where it is restored: its worker is not in the backup.
        if row["journal"] and row["status"] not in _OPEN and ids.is_id(row["id"]):
            self.journals.append(row["id"])

    def blobs(self) -> list[tuple[str, bool]]:
        """Every key once, in order, and whether it is needed."""
        keys = sorted(self.needed | self.linked)
        return [(key, key in self.needed) for key in keys if is_key(key)]


def _output_keys(text: str | None) -> list[str]:
    if not text or "outputs" not in text:
        return []
    # JSON may write a slash as `\/`.
    plain = text.replace("\\/", "/")
    return [Outputs.key(found, int(number), unquote(name)) for found, number, name in _OUTPUT.findall(plain)]


def is_key(key: str) -> bool:
    """May it be one of ours? What is not could lead out of the folder of blobs."""
    try:
        check_key(key)
    except errors.BadRequest:
        return False
    return True
