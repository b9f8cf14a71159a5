"""`yard run IMAGE` and `yard train IMAGE`: the model of an image, in a container of the Docker Engine here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from modelyard.cli import contained, container, image_source, image_weights, project
from modelyard.cli.asked import Asked
from modelyard.cli.container import Plan
from modelyard.cli.naming import Name
from modelyard.cli.outputs import Outcome
from modelyard.cli.talk import Talk

# What Cog's server is started with, as ours is.
TRAIN = ("python", "-m", "cog.server.http", "--x-mode", "train")


@contextlib.contextmanager
def outcome(
    asked: Asked,
    name: Name,
    variables: Sequence[str],
    gpus: str | None,
    environ: Mapping[str, str],
    said: Talk,
) -> Iterator[Outcome]:
    """What the image's model gives; its files exist until this is left. Raises NoImageError, UsageError, EndedError."""
    given = project.check_variables(variables, environ)
    engine = container.engine(f"the image {name.text!r}", environ)
    found = image_source.find(name, engine, environ, said)
    document = found.document
    # Inputs that are refused are refused before anything is started.
    known = None if document is None else (document, contained.check(asked, document))
    wanted, insists = container.gpus(gpus, found.wants_gpu)
    with image_weights.shown(found, environ, said) as folders:
        plan = Plan(
            image=found.id,
            command=TRAIN if asked.mode == "train" else (),
            variables=given,
            folders=folders,
            gpus=wanted,
            insists=insists,
        )
        with contained.outcome(asked, plan, known, engine, environ, said) as done:
            yield done
