"""An image on its way to a yard or to another registry: what it lacks is sent, what it has elsewhere is taken over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from modelyard.cli import bases, pace, progress, registries, words
from modelyard.cli.client import Login
from modelyard.cli.memory import Memory
from modelyard.cli.pace import Pace
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError
from modelyard.oci import labels
from modelyard.oci.client.remote import Repository
from modelyard.oci.layers import Layer
from modelyard.oci.manifest import INDEX, LAYER_KIND, parse_config
from modelyard.packaging.base import Base
from modelyard.packaging.builders.base import Artifact

if TYPE_CHECKING:
    from modelyard.cli.carried import Carried

TAG = "latest"
_MOST_OF_A_TAG = 128
# What was sent where, so that another model of the same yard takes it over there.
_SENT = "sent.json"
_SHARED = (
    labels.BASE_LAYER,
    labels.CERTIFICATES_LAYER,
    labels.SYSTEM_LAYER,
    labels.SERVER_LAYER,
    labels.BOX_LAYER,
    labels.ENVIRONMENT_LAYER,
    labels.RUN_LAYER,
)


class Sent(NamedTuple):
    """What came of it: bytes that were sent, the digest of the whole, and lines that show its parts."""

    size: int
    digest: str
    parts: Sequence[str]


class Goal(NamedTuple):
    """A repository that it goes to: `path` at `host`. `key`: by which it is remembered what went there; `tag`: what the
    whole is called there; `is_yard`: is it a model of the yard that somebody is logged in to?"""

    open: Callable[[], Repository]
    host: str
    path: str
    key: str
    tag: str = TAG
    is_yard: bool = False

    def take_over(self, registry: Repository, digest: str, origin: str, *, here: bool = False) -> bool:
        """Does the repository take this blob over from another? What another registry refuses is sent to it instead.
        `here`: with its bytes."""
        if self.is_yard:
            return registry.mount(digest, origin, here=here)
        try:
            return registry.mount(digest, origin, here=here)
        except ModelyardError:
            return False

    def origin(self, ref: str) -> str | None:
        """Where it may take layers of this base over: a yard from any registry, another registry from itself."""
        found = bases.origin(ref)
        if found is None or self.is_yard:
            return found
        host, _, path = found.partition("/")
        return path if host == self.host else None


def to_yard(login: Login, model: str, how: Pace, said: Talk) -> Goal:
    """A model of the yard that somebody is logged in to."""
    return Goal(
        open=lambda: registries.at_yard(login, model, how, said.trying_again),
        host=urlsplit(login.url).netloc,
        path=model,
        key=login.url,
        is_yard=True,
    )


class Sending(NamedTuple):
    """To one repository."""

    goal: Goal
    environ: Mapping[str, str]
    said: Talk

    def send(self, artifact: Artifact, on: Base | None, weights: Carried | None) -> Sent:
        """Send what the registry lacks, then the manifest. What is cut off is cut off before that: the registry
        shows an image that is whole, or none."""
        memory = Memory(bases.home(self.environ) / _SENT)
        goal = self.goal
        with goal.open() as registry, contextlib.ExitStack() as stack:
            sent_before = memory.get(goal.key) if on is not None else {}
            origin = None if on is None or on.made_here else goal.origin(on.ref)
            # A base that the registry cannot ask for anywhere is in no need of a place where some other model's was.
            here = origin is None
            missing = [layer for layer in artifact.layers if not self._has(registry, layer, sent_before, here=here)]
            missing = self._without_base(registry, missing, on, origin)
            if on is not None:
                bases.complete(missing, on.ref, self.environ, self.said)
            if weights is not None and (wanted := weights.lacking(registry, goal.host, goal.path, goal.take_over)):
                missing += stack.enter_context(weights.made(wanted))
            config = artifact.manifest.config
            more = 0 if registry.has(config.digest) else config.size
            sent = sum(layer.descriptor.size for layer in missing) + more
            self._announce(sent)
            self._send_layers(missing, registry)
            if more:
                registry.send_bytes(config.digest, artifact.config_bytes)
            digest, parts = _named(registry, artifact, weights, goal)
        if on is not None:
            self._remember(memory, artifact.layers, missing)
        return Sent(sent, digest, parts)

    def _has(self, registry: Repository, layer: Layer, sent: Mapping[str, str], *, here: bool) -> bool:
        """Has the repository this layer, or can it take it over from where it was sent before? `here`: with its bytes,
        which are on this disk else, and so are sent."""
        digest = layer.descriptor.digest
        if registry.has(digest, here=here):
            return True
        origin = sent.get(digest, self.goal.path)
        return origin != self.goal.path and self.goal.take_over(registry, digest, origin, here=here)

    def _without_base(
        self, registry: Repository, missing: list[Layer], on: Base | None, origin: str | None
    ) -> list[Layer]:
        """What is left to send where the yard gets layers of the base from its registry itself, when it wants them, or
        the registry has them in another repository."""
        if on is None or origin is None:
            return missing
        taken = set[str]()
        for layer in missing:
            if layer.descriptor.annotations.get(LAYER_KIND) != labels.BASE_LAYER:
                continue
            if not self.goal.take_over(registry, layer.descriptor.digest, origin):
                break  # what it does not reach for one layer it does not reach for the next
            taken.add(layer.descriptor.digest)
        if taken:
            gets = "The yard gets {} from its registry itself" if self.goal.is_yard else "Its registry has {} already"
            self.said.say(gets.format(on.ref))
        return [layer for layer in missing if layer.descriptor.digest not in taken]

    def _remember(self, memory: Memory, layers: Sequence[Layer], sent: Sequence[Layer]) -> None:
        """Which repository there has the layers that others share. Where one of them was sent now, the place where it
        was thought to be has it not, or not its bytes."""
        here, known = _shared(layers), memory.get(self.goal.key)
        if _shared(sent) or not here <= known.keys():
            memory.put(self.goal.key, {**known, **dict.fromkeys(here, self.goal.path)})

    def _announce(self, total: int) -> None:
        if total and (total < progress.WATCHED_BYTES or not self.said.is_terminal):
            self.said.say(f"Sending {words.size(total)}")

    def _send_layers(self, missing: list[Layer], registry: Repository) -> None:
        total = sum(layer.descriptor.size for layer in missing)
        watched = total >= progress.WATCHED_BYTES and self.said.is_terminal
        with progress.bar("Sending", total, self.said if watched else None) as bar:
            arrived = bar.advance
            if len(missing) < 2:
                for layer in missing:
                    _send(registry, layer, arrived)
                return
            # Only a push of several layers, which takes long enough, pays for loading this.
            from modelyard.weights.together import at_once

            def send(layer: Layer, advance: Callable[[int], None]) -> None:
                with registry.twin() as own:
                    _send(own, layer, advance)

            at_once(send, missing, arrived, most=pace.read(self.environ).at_once)


def _shared(layers: Sequence[Layer]) -> set[str]:
    return {each.descriptor.digest for each in layers if each.descriptor.annotations.get(LAYER_KIND) in _SHARED}


def _send(registry: Repository, layer: Layer, advance: Callable[[int], None]) -> None:
    registry.send(layer.descriptor.digest, layer.descriptor.size, layer.chunks, advance)


def _named(registry: Repository, artifact: Artifact, weights: Carried | None, goal: Goal) -> tuple[str, Sequence[str]]:
    """Name it there: an image, or a bundle of one and its weights. Gives its digest, and lines that show it."""
    if weights is None:
        registry.put_manifest(goal.tag, artifact.manifest_bytes, artifact.manifest.media_type)
        return artifact.digest, [f"  image  {registry.name}@{artifact.digest}"]
    from modelyard.cli import bundle  # only weights pay for it

    made = bundle.make(artifact, parse_config(artifact.config_bytes).architecture, weights.locked)
    for weight in made.weights:
        if not registry.has(weight.made.config_digest):
            registry.send_bytes(weight.made.config_digest, weight.made.config)
        name = weight.made.digest if goal.is_yard else weight.tag
        registry.put_manifest(name, weight.made.manifest, weight.made.media_type)
    # Elsewhere, what has no tag of its own may be cleared away.
    image = artifact.digest if goal.is_yard else f"{bundle.IMAGE_TAG}{goal.tag}"[:_MOST_OF_A_TAG]
    registry.put_manifest(image, artifact.manifest_bytes, artifact.manifest.media_type)
    registry.put_manifest(goal.tag, made.data, INDEX)
    return made.digest, bundle.tree(registry.name, artifact.digest, made)
