"""`yard push owner/model`: build a version of the project in the current folder and send what the yard lacks of it."""

from __future__ import annotations

import contextlib
import json
import platform
import re
from collections.abc import Container, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from modelyard import settings
from modelyard.cli import client, images, progress, project, talk, words
from modelyard.cli.client import Login
from modelyard.cli.examples import examples
from modelyard.cli.registry_client import Registry
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError
from modelyard.oci import names
from modelyard.oci.layers import Layer
from modelyard.packaging import brought, environment, ignore, recipe, schema
from modelyard.packaging.builders import venv
from modelyard.packaging.builders.base import Artifact, Context

if TYPE_CHECKING:
    from modelyard.cli.carried import Carried

TAG = "latest"
README = "README.md"
_README_CHARACTERS = 200_000
_ABOUT_CHARACTERS = 200
_AT_ONCE = 4
# Where Cog pushes to unless a name says otherwise. The yard that one is logged in to takes its place.
_REPLICATE = "r8.im"


@click.command(
    "push",
    cls=images.WithSwitches,
    short_help="Make a version of the model in a yard",
    epilog=examples(
        "yard push yard/hello-world", "yard push -f other/cog.yaml yard/hello-world", "yard push --json yard/m"
    ),
)
@click.argument("model", metavar="[OWNER/MODEL]", required=False)
@partial(images.build_options, hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print the version as JSON.")
@click.option(images.REGISTRY, "registry", hidden=True)
@click.pass_obj
def command(
    said: Talk,
    /,
    *,
    model: str | None,
    file: str | None,
    openapi_schema: str | None,
    as_json: bool,
    registry: str | None,
    **flags: Any,
) -> int:
    """Build the project and make it a version of OWNER/MODEL in the yard that you are logged in to.

    Without a name it goes where `image` or `model` in cog.yaml says. The first push makes the model, visible to its
    owner alone. Only what the yard lacks is sent.
    """
    images.check_version(flags, said)
    environ = settings.environment()
    login = client.find_login(environ)
    hosts = {_REPLICATE, registry or environ.get(images.REGISTRY_VARIABLE, ""), urlsplit(login.url).netloc}
    if model is not None:
        model = _name(model, login, hosts)
    login.required_token  # noqa: B018 - without one there is no use in building
    try:
        found = project.find(Path.cwd(), file, said, trainings=True, given=openapi_schema)
    except schema.SchemaError as error:
        raise error.within("image build failed") from None  # Cog's words, for which scripts look
    if model is None:
        model = _name_of(found, login, hosts)
    weights = _weights(found, environ)
    said.say(f"Pushing to {urlsplit(login.url).netloc}/{model}...")
    artifact = build(found, environ, said, weights)
    sent = _send(artifact, login, model, said, weights)
    version = artifact.digest.removeprefix("sha256:")
    _describe(found.root, login, model)
    if as_json:
        talk.result_json({"model": model, "version": version, "url": login.url, "sent_bytes": sent})
        return 0
    talk.result(f"{model}:{version}")
    said.say(f"Pushed {words.size(sent)} to {login.url}." if sent else f"{login.url} had all of it already.")
    kept = ", with your token in MODELYARD_TOKEN" if login.token_from == client.STORED else ""
    said.say(f"Try it in the browser (`yard open` signs you in): {login.url}/{model}")
    inputs = _example(found.document)
    pairs = "".join(
        f" -i {name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in inputs.items()
    )
    said.say("or from here:")
    said.say(f"  yard run {model}{pairs}")
    said.say(f"or over HTTP{kept}:")
    said.say(
        f"  curl -s {login.url}/v1/models/{model}/predictions -H 'Prefer: wait'"
        " -H \"Authorization: Bearer $MODELYARD_TOKEN\" -H 'Content-Type: application/json'"
        f" -d '{json.dumps({'input': inputs}, ensure_ascii=False)}'"
    )
    return 0


def _weights(found: project.Project, environ: dict[str, str]) -> Carried | None:
    if not found.config.weights:
        return None
    from modelyard.cli import carried  # only weights pay for it

    return carried.Carried(found, environ)


def _name_of(found: project.Project, login: Login, hosts: Container[str]) -> str:
    """Where cog.yaml says that it goes."""
    written = found.config.image or found.config.model
    if written is None:
        raise UsageError(
            "To push images, you must either set the 'image' option in cog.yaml or say where to",
            hint="yard push OWNER/MODEL, such as yard/hello-world",
        )
    key = "image" if found.config.image else "model"
    return _name(written, login, hosts, f"`{key}` of cog.yaml")


def _name(written: str, login: Login, hosts: Container[str], what: str = "the model") -> str:
    """`owner/model` of a name that may begin with one of `hosts`, which mean this yard. `what`: where it is written."""
    host, slash, rest = written.partition("/")
    model = written
    if slash and ("." in host or ":" in host or host == "localhost"):
        if host not in hosts:
            raise UsageError(
                f"{written!r} is in the registry {host}, and you are logged in to the yard at {login.url}",
                hint=f"yard push {rest} makes a version there; pushing to other registries comes with containers",
            )
        model = rest
    owner, slash, name = model.partition("/")
    if not slash or not owner or not name or "/" in name or ":" in name:
        hint = "a version gets its name from what is in it, so leave the tag out" if ":" in name else None
        raise UsageError(f"{what} is {written!r}; wanted: OWNER/MODEL, such as yard/hello-world", hint=hint)
    if not names.is_part(owner) or not names.is_part(name):
        hint = f"such as {_tidy(owner)}/{_tidy(name)}"
        raise UsageError(f"{what} is {written!r}; wanted: names of {names.RULE}", hint=hint)
    return model


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


def _tidy(name: str) -> str:
    """The nearest name that may be one."""
    return "-".join(re.findall("[a-z0-9]+", name.lower())) or "model"


def _example(document: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs to begin with: the model's required ones, each with a value of its type."""
    wanted = document["components"]["schemas"].get("Input", {})
    properties = wanted.get("properties", {})
    values = {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}
    return {name: values.get(properties[name].get("type"), "…") for name in wanted.get("required", [])}


def build(found: project.Project, environ: dict[str, str], said: Talk, weights: Carried | None = None) -> Artifact:
    """The project as an image. What did not change since the last time is not made again."""
    config = found.config
    lock = environment.resolve(config, found.root, config.python_version, environ=environ, report=said.say)
    files = [recipe.SourceFile(path=path, size=(found.root / path).lstat().st_size) for path in ignore.walk(found.root)]
    facts = recipe.Facts(
        config=config.to_json(),
        schema=found.document,
        lock=lock,
        ref=found.ref,
        train_ref=config.train,
        concurrency=found.concurrency,
        environment=(*config.environment, *brought.environment(config)),
        managed=weights.shown if weights else (),
        layers=weights.layers if weights else (),
    )
    planned = recipe.plan(found.root, files, facts, version=schema.VERSION, machine=platform.machine())
    cache = environment.cache_folder(found.root)
    with environment.building(found.root, said.say):
        (cache / environment.SCHEMA).write_text(recipe.compact(found.document), encoding="utf-8")
        return venv.build(planned, Context(cache=cache / "layers"), said.say)


def _send(artifact: Artifact, login: Login, model: str, said: Talk, weights: Carried | None = None) -> int:
    """Send what the registry lacks, then the manifest; returns the number of bytes sent. What is cut off is cut off
    before the manifest: the yard shows a version that is whole, or none."""
    with Registry(login, model) as registry:
        missing = [layer for layer in artifact.layers if not registry.has(layer.descriptor.digest)]
        with contextlib.ExitStack() as stack:
            if weights is not None and (wanted := weights.lacking(registry, login, model)):
                missing += stack.enter_context(weights.made(wanted))
            _send_layers(missing, registry, login, model, said=said)
        sent = sum(layer.descriptor.size for layer in missing)
        config = artifact.manifest.config
        if not registry.has(config.digest):
            registry.send_bytes(config.digest, artifact.config_bytes)
            sent += config.size
        registry.put_manifest(TAG, artifact.manifest_bytes, artifact.manifest.media_type)
    return sent


def _send_layers(missing: list[Layer], registry: Registry, login: Login, model: str, *, said: Talk) -> None:
    total = sum(layer.descriptor.size for layer in missing)
    watched = total >= progress.WATCHED_BYTES and said.is_terminal
    if total and not watched:
        said.say(f"Sending {words.size(total)}")
    with progress.bar("Sending", total, said if watched else None) as bar:
        arrived = bar.advance
        if len(missing) < 2:
            for layer in missing:
                registry.send(layer, arrived)
            return
        # Only a push of several layers, which takes long enough, pays for loading this.
        from concurrent.futures import ThreadPoolExecutor

        def send(layer: Layer) -> None:
            with Registry(login, model) as own:
                own.send(layer, arrived)

        with ThreadPoolExecutor(min(_AT_ONCE, len(missing))) as pool:
            try:
                list(pool.map(send, missing))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
