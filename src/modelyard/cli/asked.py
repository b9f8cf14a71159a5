"""What somebody wants of a model: that it runs once, here or in a container; or that it is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

Mode = Literal["predict", "train"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`pairs`: what followed each `-i`; `json_text`: None without `--json`, empty where it brings no input; `context`:
    what the model's scope knows of the caller."""

    pairs: Sequence[str]
    json_text: str | None = None
    output: str | None = None
    cwd: Path
    setup_seconds: float = 300.0
    context: Mapping[str, str] = field(default_factory=dict)
    mode: Mode = "predict"

    @property
    def as_json(self) -> bool:
        """Is all of the outcome wanted?"""
        return self.json_text is not None


class Served(NamedTuple):
    """`local_paths`: callers may name files of this machine, which a container sees none of; `restart`: a worker that
    dies is replaced."""

    host: str
    port: int
    upload_url: str | None
    local_paths: bool
    setup_timeout: float | None
    workers: int
    restart: bool
