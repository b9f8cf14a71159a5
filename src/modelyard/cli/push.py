"""`yard push owner/model`: build a version of the project in the current folder and send what the yard lacks of it.

A name with the host of another registry is sent there, as an image."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from modelyard import settings
from modelyard.cli import (
    bases,
    client,
    docker,
    executed,
    images,
    imaging,
    pace,
    project,
    registries,
    sample,
    talk,
    targets,
    words,
)
from modelyard.cli.build import read
from modelyard.cli.client import Login
from modelyard.cli.examples import examples
from modelyard.cli.sending import Sending, to_yard
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError, NotFound
from modelyard.oci import labels
from modelyard.packaging import base
from modelyard.packaging.base import Base, BaseError

if TYPE_CHECKING:
    from modelyard.cli.carried import Carried
    from modelyard.packaging.builders.base import Artifact

README = "README.md"
_README_CHARACTERS = 200_000
_ABOUT_CHARACTERS = 200
# The engine that runs a version from its lock, without a base; all others make containers.
_PROCESS = "process"


@click.command(
    "push",
    cls=images.WithSwitches,
    short_help="Make a version of the model in a yard, or send its image to a registry",
    epilog=examples(
        "yard push yard/hello-world",
        "yard push -f other/cog.yaml yard/hello-world",
        "yard push --json yard/m",
        "yard push ghcr.io/me/hello-world:v1",
    ),
)
@click.argument("model", metavar="[NAME]", required=False)
@partial(images.build_options, hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print what was pushed as JSON.")
@click.option(images.REGISTRY, "registry", hidden=True)
@click.pass_obj
def command(
    said: Talk,
    /,
    *,
    model: str | None,
    as_json: bool,
    registry: str | None,
    **flags: Any,
) -> int:
    """Build the project and make it a version of NAME, which is OWNER/MODEL, in the yard that you are logged in to.

    HOST/OWNER/NAME[:TAG] sends its image to another registry, with the login that `docker login HOST` keeps. Without a
    name it goes where `image` or `model` in cog.yaml says. The first push makes a yard's model, visible to its owner
    alone. Only what the registry lacks is sent.
    """
    images.check_build(flags, said)
    environ = settings.environment()
    login = client.find_login(environ)
    hosts = {client.REPLICATE, registry or environ.get(images.REGISTRY_VARIABLE, ""), urlsplit(login.url).netloc}
    config = project.locate(Path.cwd(), flags["file"], said).config
    target = targets.find(model, config, hosts, environ)
    if not isinstance(target, str):
        from modelyard.cli import elsewhere  # only who sends there pays for it

        return elsewhere.push(target, flags, environ, said, as_json=as_json)
    return _to_yard(target, login, flags, environ, said, as_json=as_json)


def _to_yard(
    model: str, login: Login, flags: Mapping[str, Any], environ: dict[str, str], said: Talk, *, as_json: bool
) -> int:
    login.required_token  # noqa: B018 - without one there is no use in building
    found = read(flags, said)
    how = pace.read(environ)
    with registries.at_yard(login, model, how, said.trying_again) as there:
        there.check_push()  # who may not push there is to hear it before anything is made
    weights = imaging.carried(found, environ, said)
    said.say(f"Pushing to {urlsplit(login.url).netloc}/{model}...")
    artifact, on = _built(found, flags, login, environ, said, weights)
    sent = Sending(to_yard(login, model, how, said), environ, said).send(artifact, on, weights)
    version = sent.digest.removeprefix("sha256:")
    _describe(found.root, login, model)
    for line in sent.parts:
        said.say(line)
    if as_json:
        talk.result_json({"model": model, "version": version, "url": login.url, "sent_bytes": sent.size})
        return 0
    talk.result(f"{model}:{version}")
    said.say(f"Pushed {words.size(sent.size)} to {login.url}." if sent.size else f"{login.url} had all of it already.")
    kept = ", with your token in MODELYARD_TOKEN" if login.token_from == client.STORED else ""
    said.say(f"Try it in the browser (`yard open` signs you in): {login.url}/{model}")
    said.say("or from here:")
    said.say(f"  yard run {model}{sample.flags(found.document)}")
    said.say(f"or over HTTP{kept}:")
    said.say(
        f"  curl -s {login.url}/v1/models/{model}/predictions -H 'Prefer: wait'"
        " -H \"Authorization: Bearer $MODELYARD_TOKEN\" -H 'Content-Type: application/json'"
        f" -d '{json.dumps({'input': sample.inputs(found.document)}, ensure_ascii=False)}'"
    )
    return 0


def _describe(root: Path, login: Login, model: str) -> None:
    """Show the project's README on the model's page; its first words describe a model that nothing else does."""
    try:
        text = (root / README).read_text("utf-8")[:_README_CHARACTERS]
    except (OSError, UnicodeDecodeError):
        return
    shown = client.call(login, "GET", f"/v1/models/{model}")
    changes = {"readme": text}
    first = _first_sentence(text)
    if first and not shown.get("description"):
        changes["description"] = first
    client.call(login, "PATCH", f"/v1/models/{model}", changes)


def _first_sentence(text: str) -> str:
    """The first sentence of a README that is in no title, list or picture, links as their words."""
    for paragraph in re.split(r"\n\s*\n", text):
        plain = " ".join(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", paragraph).split())
        if plain and not plain.startswith(("#", "-", "*", "!", "[", "<", "|", "```", ">")):
            sentence = re.split(r"(?<=[.!?])\s", plain)[0]
            return sentence if len(sentence) <= _ABOUT_CHARACTERS else sentence[: _ABOUT_CHARACTERS - 1] + "…"
    return ""


def _built(
    found: project.Project,
    flags: Mapping[str, Any],
    login: Login,
    environ: dict[str, str],
    said: Talk,
    weights: Carried | None,
) -> tuple[Artifact, Base | None]:
    """The version, and what it is put on; None, and it is said why, where that cannot be had and nobody insisted."""
    order = imaging.order(flags, environ, said)._replace(bundled=True)
    architecture = imaging.architecture(flags["platform"])
    if flags["dockerfile"]:
        from modelyard.cli import dockerfiles  # only who names one pays for it

        return dockerfiles.build(found, Path(flags["dockerfile"]), architecture, environ, said, order)
    yard = _yard(login)
    contained = yard.get("engine", _PROCESS) != _PROCESS
    named = bases.wish(flags["base_image"], found.config.python_version, architecture, environ, anew=order.anew)
    wanted = bases.of_yard(named, yard.get("base_image"))
    on = _base(found, wanted, environ, said, order, contained=contained)
    try:
        return imaging.build(found, on, environ, said, order, weights), on
    except executed.NeedsEngineError as error:
        if wanted.insists:
            raise
        _without_base(said, error, contained=contained)
    return imaging.build(found, None, environ, said, order, weights), None


def _yard(login: Login) -> Mapping[str, Any]:
    """What the yard says of itself; nothing where it is a registry alone, which runs nothing."""
    try:
        return dict(client.call(login, "GET", "/v1/yard"))
    except NotFound:
        return {}


def _base(
    found: project.Project,
    wanted: bases.Wish,
    environ: dict[str, str],
    said: Talk,
    order: imaging.Order,
    *,
    contained: bool,
) -> Base | None:
    if wanted.ref == base.NONE and wanted.given:
        if contained:
            said.warn(labels.NOT_HERE)
        return None
    try:
        return imaging.base(found, wanted, environ, said, order)
    except (BaseError, docker.EngineError) as error:
        if wanted.insists:
            raise
        _without_base(said, error, contained=contained)
        return None


def _without_base(said: Talk, error: ModelyardError, *, contained: bool) -> None:
    """Say it. Raises BaseError where the yard could do nothing with the version, unless somebody wants it so."""
    if contained:
        hint = f"{error.hint}; `--base-image {base.NONE}` pushes it all the same"
        raise BaseError(f"{labels.NOT_HERE}: {error}", hint=hint)
    said.warn(f"{labels.WITHOUT_BASE}: {error}")
    said.say(f"hint: {error.hint}")
