"""Managed weights on their way into a version: checked before anything is built, sent where they lack."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from modelyard.cli import mounted, registries
from modelyard.cli.project import Folder
from modelyard.cli.talk import Talk
from modelyard.oci.client import remote
from modelyard.oci.client.remote import Repository
from modelyard.oci.layers import Layer
from modelyard.oci.manifest import Descriptor
from modelyard.packaging import ignore
from modelyard.weights import carrying
from modelyard.weights.cache import Cache

TakeOver = Callable[[Repository, str, str], bool]


class Carried:
    """The weights of a project that is pushed. Raises OutOfSyncError, NotCachedError."""

    def __init__(self, project: Folder, environ: Mapping[str, str]) -> None:
        mounted.check(project.root, project.config, environ)
        self.locked = mounted.weights(project.root, project.config)
        self._cache = Cache.of(environ)
        self._environ = environ
        self._home = registries.resolve(project.config.model, environ)
        self.layers = carrying.layers(self.locked)
        self.apart = carrying.Apart(self.locked, project.root, (project.config.run, project.config.train))

    def tell(self, root: Path, talk: Talk) -> None:
        """What of the project's folders goes as a weight alone, and what goes twice."""
        for name, folder, file in self.apart.shared:
            talk.warn(
                f'weight "{name}": its source {folder} holds the model\'s code ({file}), so its files are sent twice: '
                "as the weight and as the project's. Give them a folder of their own"
            )
        left_out = set(ignore.walk(root)).difference(ignore.walk(root, self.apart)) if self.apart.folders else set()
        for name, folder, target in self.apart.folders:
            if any(path.startswith(f"{folder}/") for path in left_out):
                talk.say(f'weight "{name}": the files of {folder} go as the weight alone, to be found at {target}')

    def lacking(self, registry: Repository, host: str, path: str, take_over: TakeOver) -> list[Descriptor]:
        """What the repository `path` at `host` has not, also not in the one there that an import sent it to."""
        elsewhere = self._home.registry == host and self._home.path != path

        def has(digest: str) -> bool:
            return registry.has(digest) or (elsewhere and take_over(registry, digest, self._home.path))

        return [layer for layer in self.layers if not has(layer.digest)]

    @contextlib.contextmanager
    def made(self, wanted: Sequence[Descriptor]) -> Iterator[list[Layer]]:
        """These layers, ready to be sent; what was written for that is removed afterwards."""
        ready: list[Layer] = []
        try:
            ready.extend(carrying.make(self.locked, layer.digest, self._cache, self._origin) for layer in wanted)
            yield ready
        finally:
            for one in ready:
                if one.path.parent == self._cache.partial("x").parent:
                    one.path.unlink(missing_ok=True)

    def _origin(self) -> Repository:
        return remote.open_repository(self._home, registries.find(self._environ))
