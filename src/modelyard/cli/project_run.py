"""`yard run --container` and `yard train --container`: the folder's model once, in a container."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from modelyard.cli import contained, project, project_container
from modelyard.cli.asked import Asked
from modelyard.cli.outputs import Outcome
from modelyard.cli.talk import Talk

TRAIN = (*project_container.SERVER, "--x-mode", "train")


@contextlib.contextmanager
def outcome(
    asked: Asked,
    file: str | None,
    variables: Sequence[str],
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    said: Talk,
) -> Iterator[Outcome]:
    """What the model gives; its files exist until this is left. Raises UsageError, EndedError, EngineError."""
    trains = asked.mode == "train"
    find = project.find_trainer if trains else project.find
    found = find(asked.cwd, file, said, variables=variables)
    given = contained.check(asked, found.document)
    with project_container.made(found, variables, flags, environ, said) as made:
        project_container.leave_schema(found)
        plan = replace(made.plan, command=TRAIN if trains else project_container.SERVER)
        with contained.outcome(asked, plan, (found.document, given), made.engine, environ, said) as done:
            yield done
