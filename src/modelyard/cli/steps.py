"""What `build.run` of cog.yaml says, executed on the model's packages by the engine, once; then layers as others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from modelyard.cli import build_secrets, docker, docker_build, executed
from modelyard.cli.build_secrets import Secret
from modelyard.cli.talk import Talk
from modelyard.oci import labels
from modelyard.oci.layers import Layer
from modelyard.oci.manifest import LAYER_KIND, Config
from modelyard.packaging import dockerfile
from modelyard.packaging.builders import standing
from modelyard.packaging.config_source.records import Command

# Where Python's code is in an image, but for the project's own.
COMPILED = tuple(f"/{folder}" for folder in (standing.MODEL, standing.SERVER, standing.BOX))
# Another version of our own code is no reason to run a step again.
_OURS = (labels.SERVER_LAYER, labels.BOX_LAYER)
# Layers that were kept without these words may have been made with a secret by an engine that remembered it.
_GIVEN_NONE = "none is given"


def names(root: Path) -> tuple[str, str]:
    """What the engine calls a project's image without its steps, and with them: the same for each of its builds."""
    key = hashlib.sha256(str(root.absolute()).encode()).hexdigest()[:12]
    return f"modelyard/environment:{key}", f"modelyard/steps:{key}"


def wanted(commands: Sequence[Command]) -> set[str]:
    """The secrets that the commands have mounts for."""
    return {mount.id for each in commands for mount in each.mounts}


def check(commands: Sequence[Command], secrets: Sequence[Secret], said: Talk) -> None:
    """Say which secrets the commands want and nobody gives, and the other way round."""
    given, asked = {secret.id for secret in secrets}, wanted(commands)
    for name in sorted(asked - given):
        said.warn(f"build.run wants the secret {name!r}, and no --secret id={name},src=FILE gives it")
    for name in sorted(given - asked):
        said.warn(f"--secret id={name}: no command of build.run has a mount for it")


class Steps(NamedTuple):
    """The steps of one build. `compiled`: whether bytecode is wanted; `ref`: the base's name."""

    root: Path
    commands: Sequence[Command]
    secrets: Sequence[Secret]
    compiled: bool
    ref: str
    anew: bool
    environ: Mapping[str, str]
    said: Talk
    show: Callable[[str], None]

    def require(self) -> None:
        """Raises NeedsEngineError at once, before anything is made in vain, where it is sure to be raised later."""
        if not executed.is_possible(names(self.root)[0], self.environ):
            raise self._needs()

    def layers(self, config: Config, below: Sequence[Layer]) -> list[Layer]:
        """The layers of the steps on what is below. Raises NeedsEngineError, StepError, EngineError, UsageError."""
        asked = wanted(self.commands)
        secrets = [secret for secret in self.secrets if secret.id in asked]
        with build_secrets.given(secrets, self.root, self.environ) as given:
            try:
                return executed.layers(self._work(config, below, given), self.environ, self.said, self.show)
            except docker_build.StepError as error:
                raise self._told(error) from None

    def _work(self, config: Config, below: Sequence[Layer], given: build_secrets.Given) -> executed.Work:
        name, made = names(self.root)
        compiled = COMPILED if self.compiled else ()
        passed = () if self.compiled else _OURS
        counted = [layer for layer in below if layer.descriptor.annotations[LAYER_KIND] not in passed]
        # To have no secret is to have another one.
        secretive = bool(wanted(self.commands))

        def order(lent: build_secrets.Borrowed) -> docker_build.Order:
            return docker_build.Order(
                text=dockerfile.steps(name, self.commands, lent.files, compiled),
                name=made,
                # The engine would take what it made with another secret, or with one, for the same.
                anew=self.anew or secretive,
                secrets=(*given.flags, *lent.flags),
                platform=docker_build.elsewhere(config.architecture),
                mounts=dockerfile.needs_buildkit(self.commands),
            )

        return executed.Work(
            below=executed.Below(
                name=name, config=config, layers=below, ref=self.ref, project=str(self.root.absolute())
            ),
            inputs=(
                dockerfile.steps("", self.commands, compiled=compiled),
                *config.environment,
                *(layer.diff_id for layer in counted),
                given.digest or (_GIVEN_NONE if secretive else ""),
            ),
            name=made,
            order=order,
            with_indexes=True,
            anew=self.anew,
            kind=labels.RUN_LAYER,
            what=_what(self.commands, self.compiled),
            needs=self._needs,
        )

    def _needs(self) -> executed.NeedsEngineError:
        place = docker.place(self.environ)
        if not self.commands:
            return executed.NeedsEngineError(
                f"--precompile must be executed in the image, which needs a Docker Engine, and there is none {place}",
                hint="start one, or leave the flag out",
            )
        told = "; ".join(each.command for each in self.commands)
        return executed.NeedsEngineError(
            f"cog.yaml: build.run ({told}) must be executed in the image, which needs a Docker Engine, and there is"
            f" none {place}",
            hint="start one; or take build.run out, and name a base in which it was done already with --base-image",
        )

    def _told(self, error: docker_build.StepError) -> docker_build.StepError:
        whose = [each.command for each in self.commands if error.instruction.endswith(each.command)]
        return error.of(f"cog.yaml: build.run: `{whose[0]}` failed" if whose else f"`{error.instruction}` failed")


def _what(commands: Sequence[Command], compiled: bool) -> str:
    count = len(commands)
    told = [f"{count} command{'s' * (count != 1)} of build.run"] if count else []
    told += ["the compiling of Python's code"] if compiled else []
    return f"Running {' and '.join(told)} with the Docker Engine"
