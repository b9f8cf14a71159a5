"""`yard run` and `yard train` in a container of the Docker Engine here: the model of an image, or the folder's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from modelyard import settings
from modelyard.cli import contained, container, images, project, project_container
from modelyard.cli.asked import Asked
from modelyard.cli.container import Plan
from modelyard.cli.naming import Name
from modelyard.cli.outputs import Outcome
from modelyard.cli.talk import Talk


@contextlib.contextmanager
def outcome(
    asked: Asked, name: Name | None, file: str | None, variables: Sequence[str], flags: Mapping[str, Any], said: Talk
) -> Iterator[Outcome]:
    """What the model gives; its files exist until this is left. `name`: the image's, None for the folder's model.

    Raises UsageError, NoImageError, EndedError, EngineError.
    """
    environ = settings.environment()
    if name is None:
        made = _of_project(asked, file, variables, flags, environ, said)
    else:
        images.check_image(name.text, file, flags)
        made = _of_image(asked, name, variables, flags["gpus"], environ, said)
    with made as done:
        yield done


@contextlib.contextmanager
def _of_project(
    asked: Asked,
    file: str | None,
    variables: Sequence[str],
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    said: Talk,
) -> Iterator[Outcome]:
    find = project.find_trainer if asked.mode == "train" else project.find
    found = find(asked.cwd, file, said, variables=variables)
    given = contained.check(asked, found.document)
    with project_container.made(found, variables, flags, environ, said) as made:
        project_container.leave_schema(found)
        plan = replace(made.plan, command=project_container.server(asked.mode))
        with contained.outcome(asked, plan, (found.document, given), made.engine, environ, said) as done:
            yield done


@contextlib.contextmanager
def _of_image(
    asked: Asked,
    name: Name,
    variables: Sequence[str],
    gpus: str | None,
    environ: Mapping[str, str],
    said: Talk,
) -> Iterator[Outcome]:
    from modelyard.cli import image_source, image_weights  # a folder's model has no use for them

    given = project.check_variables(variables, environ)
    engine = container.engine(f"the image {name.text!r}", environ)
    found = image_source.find(name, asked.mode, engine, environ, said)
    document = found.document
    # Inputs that are refused are refused before anything is started.
    known = None if document is None else (document, contained.check(asked, document))
    wanted, insists = container.gpus(gpus, found.wants_gpu)
    with image_weights.shown(found, environ, said) as folders:
        plan = Plan(
            image=found.id,
            command=project_container.server("train") if asked.mode == "train" else (),
            variables=given,
            folders=folders,
            gpus=wanted,
            insists=insists,
        )
        with contained.outcome(asked, plan, known, engine, environ, said) as done:
            yield done
