"""`yard push owner/model`: build a version of the project in the current folder and send what the yard lacks of it."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import click

from modelyard import settings
from modelyard.cli import client, project, talk
from modelyard.cli.client import Login
from modelyard.cli.examples import examples
from modelyard.cli.registry_client import Registry
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError
from modelyard.oci.layers import Layer
from modelyard.packaging import environment, ignore, recipe
from modelyard.packaging.builders import venv
from modelyard.packaging.builders.base import Artifact, Context

VERSION = "0.1.0"
TAG = "latest"


@click.command(
    "push",
    short_help="Make a version of the model in a yard",
    epilog=examples(
        "yard push yard/hello-world", "yard push -f other/cog.yaml yard/hello-world", "yard push --json yard/m"
    ),
)
@click.argument("model", metavar="OWNER/MODEL")
@click.option("-f", "--file", metavar="FILE", help="The cog.yaml to use.  [default: the nearest one upwards]")
@click.option("--json", "as_json", is_flag=True, help="Print the version as JSON.")
@click.pass_obj
def command(said: Talk, model: str, file: str | None, as_json: bool) -> int:
    """Build the project and make it a version of OWNER/MODEL in the yard that you are logged in to.

    The first push makes the model, visible to its owner alone. Only what the yard lacks is sent.
    """
    owner, slash, name = model.partition("/")
    if not slash or not owner or not name or "/" in name or ":" in name:
        raise UsageError(f"the model is {model!r}; wanted: OWNER/MODEL, such as yard/hello-world")
    environ = settings.environment()
    login = client.find_login(environ)
    login.required_token  # noqa: B018 - without one there is no use in building
    found = project.find(Path.cwd(), file, said)
    artifact = build(found, environ, said)
    sent = _send(artifact, login, model, said)
    version = artifact.digest.removeprefix("sha256:")
    if as_json:
        talk.result_json({"model": model, "version": version, "url": login.url, "sent_bytes": sent})
        return 0
    talk.result(f"{model}:{version}")
    said.say(f"Pushed {_size(sent)} to {login.url}. Try it:")
    said.say(
        f"  curl -X POST {login.url}/v1/models/{model}/predictions -H 'Prefer: wait'"
        " -H \"Authorization: Bearer $MODELYARD_TOKEN\" -H 'Content-Type: application/json'"
        " -d '{\"input\": {}}'"
    )
    return 0


def build(found: project.Project, environ: dict[str, str], said: Talk) -> Artifact:
    """The project as an image. What did not change since the last time is not made again."""
    config = found.config
    lock = environment.resolve(config, found.root, config.python_version, environ=environ, report=said.say)
    files = [recipe.SourceFile(path=path, size=(found.root / path).lstat().st_size) for path in ignore.walk(found.root)]
    facts = recipe.Facts(
        config=config.to_json(),
        schema=found.document,
        lock=lock,
        ref=found.ref,
        concurrency=found.concurrency,
        environment=[f"{name}={value}" for name, value in config.variables.items()],
    )
    planned = recipe.plan(found.root, files, facts, version=VERSION, machine=platform.machine())
    return venv.build(planned, Context(cache=found.root / environment.CACHE_FOLDER / "layers"), said.say)


def _send(artifact: Artifact, login: Login, model: str, said: Talk) -> int:
    sent = 0
    with Registry(login, model) as registry:
        for layer in artifact.layers:
            if not registry.has(layer.descriptor.digest):
                _send_layer(registry, layer, said)
                sent += layer.descriptor.size
        config = artifact.manifest.config
        if not registry.has(config.digest):
            registry.send_bytes(config.digest, artifact.config_bytes)
            sent += config.size
        registry.put_manifest(TAG, artifact.manifest_bytes, artifact.manifest.media_type)
    return sent


def _send_layer(registry: Registry, layer: Layer, said: Talk) -> None:
    size = layer.descriptor.size
    if size < 1024 * 1024 or not sys.stderr.isatty():
        said.say(f"Sending {_size(size)}")
        registry.send(layer, lambda _: None)
        return
    # Only what takes long enough to be watched pays for the library that draws it.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = ("Sending", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=size)
        registry.send(layer, lambda arrived: progress.update(task, completed=arrived))


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
