"""From a project to an image that runs by itself: what `yard build` and `yard push` have in common."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modelyard.cli import bases, build_secrets, certificates, cuda, docker, docker_build, steps, systems
from modelyard.cli.build_secrets import Secret
from modelyard.cli.project import Folder, Project
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError
from modelyard.oci.manifest import digest_of
from modelyard.packaging import brought, environment, ignore, recipe, revision, schema
from modelyard.packaging.base import Base
from modelyard.packaging.builders import oci, venv
from modelyard.packaging.builders.base import Artifact, Context, Execute
from modelyard.packaging.recipe import Placed, SourceFile
from modelyard.store import trees

if TYPE_CHECKING:
    from modelyard.cli.carried import Carried

_EPOCH = "SOURCE_DATE_EPOCH"
PROGRESS = "BUILDKIT_PROGRESS"


class Order(NamedTuple):
    """How somebody wants the image. `timestamp`: seconds since 1970 that it is to say it was made at; `output`: where
    it is written to, which is no part of it; `secrets`: for the steps of `build.run`; `compiled`: with bytecode;
    `cuda`: is NVIDIA's image wanted: `auto`, `true` or `false`; `show`: gets what an engine prints meanwhile;
    `bundled`: its managed weights are beside it, and not in it; `push_id`: by which this push is to be known."""

    anew: bool = False
    timestamp: int | None = None
    output: Path | None = None
    secrets: Sequence[Secret] = ()
    compiled: bool = False
    cuda: str = "auto"
    show: Callable[[str], None] = docker_build.hidden
    bundled: bool = False
    push_id: str = ""


def order(flags: Mapping[str, Any], environ: Mapping[str, str], said: Talk, output: Path | None = None) -> Order:
    """What the flags of a command say. Raises UsageError."""
    progress = flags["progress"] or environ.get(PROGRESS)
    return Order(
        anew=bool(flags["no_cache"]),
        timestamp=flags["timestamp"],
        output=output,
        secrets=[build_secrets.parse(text) for text in flags["secret"]],
        compiled=bool(flags["precompile"]),
        cuda=flags["use_cuda_base_image"] or "auto",
        show=docker_build.hidden if progress == "quiet" else said.say,
    )


def architecture(wanted: str | None) -> str:
    """The machine that `--platform` names, else this one. Raises UsageError."""
    if wanted is None:
        return recipe.architecture_of(platform.machine())
    system, _, found = wanted.partition("/")
    if system != "linux" or found not in trees.PLATFORMS:
        known = " or ".join(f"linux/{name}" for name in trees.PLATFORMS)
        raise UsageError(f"--platform is {wanted!r}; wanted: {known}")
    return found


def base(found: Folder, wanted: bases.Wish, environ: Mapping[str, str], said: Talk, order: Order) -> Base:
    """What the image is put on, with the packages of the system that cog.yaml names. Raises NeedsEngineError,
    EngineError, NoBaseError, BaseError."""
    config = found.config
    plain = _cuda(found, wanted, environ, said, order) or bases.find(wanted, environ, said)
    on = certificates.add(plain, environ, said)
    if not config.system_packages:
        return on
    return systems.add(on, config.system_packages, environ, said, order.show, anew=order.anew)


def _cuda(found: Folder, wanted: bases.Wish, environ: Mapping[str, str], said: Talk, order: Order) -> Base | None:
    """NVIDIA's image, where somebody insists, or the model uses a GPU and brings no CUDA and nobody names a base."""
    if not cuda.is_wanted(order.cuda, found.config, found.root, wanted.ref, environ):
        return None
    try:
        return cuda.base(found.config, wanted.architecture, environ, said, order.show, flag=order.cuda, anew=order.anew)
    except (docker.EngineError, UsageError) as error:
        if order.cuda == cuda.YES:
            raise
        said.warn(f"the image has no CUDA but what the model's packages bring: {_briefly(error)}")
        return None


def _briefly(error: Exception) -> str:
    """What failed and the last reason, as one sentence."""
    first, *rest = str(error).splitlines()
    return f"{first} {rest[-1]}" if rest else first


def carried(found: Project, environ: Mapping[str, str], said: Talk) -> Carried | None:
    """The project's managed weights, if it has some. Raises OutOfSyncError, NotCachedError."""
    if not found.config.weights:
        return None
    from modelyard.cli import carried  # only weights pay for it

    weights = carried.Carried(found, environ)
    weights.tell(found.root, said)
    return weights


def build(
    found: Project,
    on: Base | None,
    environ: Mapping[str, str],
    said: Talk,
    order: Order,
    weights: Carried | None = None,
) -> Artifact:
    """The project as an image on a base, with its `weights` in it unless they are beside it; without a base, what the
    process engine runs. What did not change since the last time is not made again."""
    config = found.config
    execute = _steps(found, on, environ, said, order)
    files = list(_files(found.root, order.output, weights, said))
    held = environment.resolve(
        config,
        found.root,
        config.python_version,
        environ=environ,
        report=said.say,
        in_image=on is not None,
    )
    cache = environment.cache_folder(found.root)
    standing = None if on is None else _standing(found, on, environ, order, weights)
    if standing is not None:
        # Cog's servers, and ours, read it there.
        files.append(SourceFile(path=f"{environment.CACHE_FOLDER}/{environment.SCHEMA}", size=0))
    facts = recipe.Facts(
        config=config.to_json(),
        schema=found.document,
        lock=held,
        ref=found.ref,
        train_ref=config.train,
        concurrency=found.concurrency,
        environment=(*config.environment, *brought.environment(config)),
        standing=standing,
    )
    planned = recipe.plan(found.root, files, facts, version=schema.VERSION, machine=platform.machine())
    with environment.building(found.root, said.say):
        environment.leave_schema(found.root, recipe.compact(found.document))
        context = Context(
            cache=cache / "layers",
            images=bases.home(environ),
            machine=platform.machine(),
            environ=environ,
            anew=order.anew,
            execute=execute,
        )
        if on is None:
            return venv.build(planned, context, said.say)
        return oci.build(planned, context, said.say)


def bare(found: Folder, on: Base, environ: Mapping[str, str], said: Talk, order: Order) -> Artifact:
    """The image without the project's files, for a container that sees them where they lie: it is another one only
    where the environment is."""
    config = found.config
    held = environment.resolve(
        config, found.root, config.python_version, environ=environ, report=said.say, in_image=True
    )
    facts = recipe.Facts(
        config=config.to_json(),
        schema={},
        lock=held,
        ref=None,
        environment=(*config.environment, *brought.environment(config)),
        standing=recipe.Standing(base=on),
    )
    planned = recipe.plan(found.root, (), facts, version=schema.VERSION, machine=platform.machine())
    with environment.building(found.root, said.say):
        context = Context(
            cache=environment.cache_folder(found.root) / "bare",
            images=bases.home(environ),
            machine=platform.machine(),
            environ=environ,
            anew=order.anew,
            execute=_steps(found, on, environ, said, order),
        )
        return oci.build(planned, context, said.say)


def _steps(found: Folder, on: Base | None, environ: Mapping[str, str], said: Talk, order: Order) -> Execute | None:
    """What is to be executed on the model's packages, if anything is."""
    commands = found.config.commands
    steps.check(commands, order.secrets, said)
    if on is None or not (commands or order.compiled):
        for what in [*(["build.run"] if commands else []), *(["--precompile"] if order.compiled else [])]:
            said.warn(f"{what} does nothing for a version without a base: only an image can have what it makes")
        return None
    wanted = steps.Steps(
        root=found.root,
        commands=commands,
        secrets=order.secrets,
        compiled=order.compiled,
        ref=on.ref,
        anew=order.anew,
        environ=environ,
        said=said,
        show=order.show,
    )
    wanted.require()
    return wanted.layers


def _files(root: Path, output: Path | None, weights: Carried | None, said: Talk) -> Iterator[SourceFile]:
    """What of a project belongs in it."""
    out = output.absolute() if output is not None else None

    def tell(path: str) -> None:
        if root / path != out:
            taken = f"`!{path}` in {ignore.FILE_NAME} takes it along"
            said.say(f"Leaving out {path}: an image that was built here; {taken}")

    for path in ignore.walk(root, weights.apart if weights else None, tell):
        whole = root / path
        if out is None or (whole != out and out not in whole.parents):
            yield SourceFile(path=path, size=whole.lstat().st_size)


def _standing(
    found: Project, on: Base, environ: Mapping[str, str], order: Order, weights: Carried | None
) -> recipe.Standing:
    placed = [] if weights is None else _told(found, weights) if order.bundled else _placed(weights, environ)
    told = revision.labels(found.root, environ, order.push_id)
    return recipe.Standing(base=on, placed=placed, labels=told, created=_created(environ, order.timestamp))


def _placed(weights: Carried, environ: Mapping[str, str]) -> list[Placed]:
    """The files of managed weights, which are on this machine."""
    from modelyard.weights.cache import Cache  # only projects with weights pay for it

    cache = Cache.of(environ)
    return [
        Placed(name=f"{weight.target}/{file.path}", path=cache.path(file.digest), size=file.size, digest=file.digest)
        for weight in weights.locked
        for file in weight.files
    ]


def _told(found: Project, weights: Carried) -> list[Placed]:
    """The file with which an image says which weights are beside it."""
    from modelyard.cli import bundle  # only projects with weights pay for it

    data = bundle.runtime(weights.locked)
    path = environment.cache_folder(found.root) / Path(bundle.RUNTIME_FILE).name
    path.write_bytes(data)
    return [Placed(name=bundle.RUNTIME_FILE, path=path, size=len(data), digest=digest_of(data))]


def _created(environ: Mapping[str, str], timestamp: int | None) -> str:
    told = environ.get(_EPOCH, "")
    seconds = timestamp if timestamp is not None and timestamp >= 0 else int(told) if told.isdecimal() else None
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
