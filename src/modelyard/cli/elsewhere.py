"""A push to a registry that is no yard: the whole image, or a bundle of it and its weights, for whoever pulls it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from modelyard import ids
from modelyard.cli import imaging, registries, sample, sending, talk, words
from modelyard.cli.build import read, whole
from modelyard.cli.sending import Goal, Sending, Sent
from modelyard.cli.talk import Talk
from modelyard.oci.client.reference import DEFAULT_REGISTRY, Reference
from modelyard.packaging.config import Config

# As docker shows the names of its own registry.
_DOCKERS = "docker.io"


def push(wanted: Reference, flags: Mapping[str, Any], environ: dict[str, str], said: Talk, *, as_json: bool) -> int:
    """Build the project's image and send it there. Raises NoBaseError, and what the registry's refusal is."""
    found = read(flags, said)
    weights = imaging.carried(found, environ, said)
    tag = wanted.tag_at(datetime.now(UTC)) if weights else wanted.tag or sending.TAG
    name = _name(wanted)
    said.say(f"Pushing to {name}:{tag}..." if weights or wanted.tag else f"Pushing to {name}...")
    with registries.elsewhere(wanted, environ, said.trying_again) as registry:
        registry.check_push()  # before anything is made that nobody would take
    order = imaging.order(flags, environ, said)._replace(bundled=True, push_id=ids.new_push_id())
    artifact, on = whole(found, flags, environ, said, order, weights)
    goal = Goal(
        open=lambda: registries.elsewhere(wanted, environ, said.trying_again),
        host=wanted.registry,
        path=wanted.path,
        key=wanted.registry,
        tag=tag,
    )
    sent = Sending(goal, environ, said).send(artifact, on, weights)
    for line in sent.parts:
        said.say(line)
    if as_json:
        talk.result_json({"image": f"{name}:{tag}", "digest": sent.digest, "sent_bytes": sent.size})
        return 0
    talk.result(f"{name}@{sent.digest}")
    _tell(f"{name}:{tag}", sent, wanted, found.config, said, sample.flags(found.document))
    return 0


def _tell(image: str, sent: Sent, wanted: Reference, config: Config, said: Talk, flags: str) -> None:
    """How it is run, by whoever may pull it."""
    said.say(f"Pushed {words.size(sent.size)} to {wanted.registry}.")
    if config.weights:
        said.say("Run it where there is a Docker Engine; its weights are brought there:")
    else:
        said.say("Serve it where there is a Docker Engine:")
        said.say(f"  docker run -p 5000:5000 {'--gpus all ' * config.gpu}{image}")
        said.say("or run it once:")
    said.say(f"  yard run {image}{flags}")


def _name(wanted: Reference) -> str:
    host = _DOCKERS if wanted.registry == DEFAULT_REGISTRY else wanted.registry
    return f"{host}/{wanted.repository}"
