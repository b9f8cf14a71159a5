"""The schema of a model from its source text: nothing of the project is imported or run.

Equal to what reflection gives inside the model's own environment (`cog.reflection`), for everything that can be
told from the text; the rest is refused with its place and a way to mend it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.packaging.schema_source import batching, document, functions, shapes
from modelyard.packaging.schema_source.functions import Mode, Target
from modelyard.packaging.schema_source.modules import Newer, Project, SchemaError

__all__ = ["Mode", "SchemaError", "Traits", "read", "read_traits"]

VERSION = "0.1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """How a model may be called, read from its text.

    `method`: the name of the function that answers ("predict" is the older name of "run"); `owner`: its class, "" for
    a function. `concurrency`: from `@concurrent`, or the places that `@batch` asks for, 1 without them. `batched`: by
    `@batch`. `train`: the same class, or the file, also trains.
    """

    method: str
    owner: str
    concurrency: int
    streaming: bool
    is_async: bool
    batched: bool
    train: bool


def read(
    root: Path,
    ref: str | None,
    mode: Mode = "predict",
    *,
    train: str | None = None,
    version: str = VERSION,
    newer: Newer | None = None,
    former: bool = False,
) -> dict[str, Any]:
    """The OpenAPI document of the function that `ref` ("run.py:Runner", in `root`) names.

    `mode` says whether `ref` predicts or trains; `train` names a second function that trains, for a document of both.
    `version` goes to `info`. `newer` reads files whose grammar our own parser does not know; `former`: the project is
    written for a Cog up to 0.16. Raises SchemaError.
    """
    project = Project(root, newer, former=former)
    run_ref, train_ref = (ref, train) if mode == "predict" else (None, ref)
    if run_ref is None and train_ref is None:
        raise SchemaError(
            "no predict or train reference found in cog.yaml", hint='add `run: "run.py:Runner"` to cog.yaml'
        )
    both = run_ref is not None and train_ref is not None
    run = None if run_ref is None else _target(project, run_ref, "predict", "predict schema" if both else "")
    trains = None if train_ref is None else _target(project, train_ref, "train", "train schema" if both else "")
    main = run or trains
    try:
        return document.render(
            None if run is None else run[1],
            None if trains is None else trains[1],
            streaming=run is not None and functions.is_streaming(run[0]),
            version=version,
            former=former,
        )
    except shapes.SchemaError as error:
        raise (main[0].module.error(main[0].node, str(error)) if main else SchemaError(str(error))) from None


def _target(project: Project, ref: str, mode: Mode, prefix: str) -> tuple[Target, shapes.Signature]:
    try:
        target = functions.find(project, ref, mode)
        if mode == "train" and functions.batch(target) is not None:
            raise target.module.error(target.node, batching.ON_TRAIN)
        return target, functions.signature(target)
    except SchemaError as error:
        if not prefix:
            raise
        raise error.within(prefix) from None


def read_traits(root: Path, ref: str, mode: Mode = "predict", *, newer: Newer | None = None) -> Traits:
    """How the function that `ref` names may be called. Raises SchemaError."""
    project = Project(root, newer)
    target = functions.find(project, ref, mode)
    try:
        trains = functions.find(project, ref, "train").node is not target.node or mode == "train"
    except SchemaError:
        trains = False
    return Traits(
        method=target.node.name,
        owner=target.owner.name if target.owner else "",
        concurrency=functions.concurrency(target),
        streaming=functions.is_streaming(target),
        is_async=functions.is_async(target),
        batched=functions.batch(target) is not None,
        train=trains,
    )
