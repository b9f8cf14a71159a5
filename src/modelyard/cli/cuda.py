"""NVIDIA's image with CUDA as a base: the engine has it or gets it, and gives it a Python; once, then it is kept."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from modelyard.cli import bases, build_secrets, docker, docker_build, executed
from modelyard.cli.memory import Memory
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError
from modelyard.oci import labels
from modelyard.oci.layers import Layer
from modelyard.oci.layout import Layout
from modelyard.oci.manifest import Descriptor, digest_of, parse_config
from modelyard.packaging import dockerfile, environment
from modelyard.packaging.base import Base
from modelyard.packaging.compatibility import images
from modelyard.packaging.compatibility.images import CudaImage
from modelyard.store.trees import Target
from modelyard.store.uv import Uv, UvError

if TYPE_CHECKING:
    from modelyard.packaging.config import Config

AUTOMATIC: Final = "auto"
YES: Final = "true"
FLAG: Final = "--use-cuda-base-image"
_MADE: Final = "cuda.json"
# Packages that bring the libraries of CUDA along, or need none but those.
_BRINGS = re.compile(r"^(torch|nvidia-cuda-runtime(-cu\d+)?)==", re.MULTILINE)
_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


def is_wanted(flag: str, config: Config, root: Path, named: str | None, environ: Mapping[str, str]) -> bool:
    """Is it the base? Where the flag leaves it open: of a model that uses a GPU, whose packages bring no CUDA, where
    nobody named a base."""
    if flag != AUTOMATIC:
        return flag == YES
    if not config.gpu or named is not None:
        return False
    lock = environment.resolve(config, root, config.python_version, environ=environ, in_image=True)
    return _BRINGS.search(lock.text) is None


def image(config: Config, flag: str) -> CudaImage:
    """The image for the CUDA and cuDNN of cog.yaml: with a compiler where somebody insists on it, as Cog's has one, or
    where commands may use it. Raises UsageError."""
    if not config.gpu or config.cuda is None or config.cudnn is None:
        hint = "write `gpu: true` below `build` in cog.yaml"
        raise UsageError(f"{FLAG}=true is for models that use a GPU", hint=hint)
    compiles = flag == YES or bool(config.commands)
    found = images.choose(config.cuda, config.cudnn, config.python_version, compiles=compiles)
    if found is None:
        raise UsageError(
            f"cog.yaml: there is no image {images.REPOSITORY} with CUDA {config.cuda} and cuDNN {config.cudnn}",
            hint="leave build.cuda and build.cudnn out, or name another base with --base-image",
        )
    return found


def base(
    config: Config,
    architecture: str,
    environ: Mapping[str, str],
    said: Talk,
    show: Callable[[str], None],
    *,
    flag: str,
    anew: bool,
) -> Base:
    """The base. Raises NeedsEngineError, StepError, EngineError, UsageError."""
    return _Making(image(config, flag), config.python_version, architecture, environ, said, show, anew).base()


def name(image: CudaImage, minor: str) -> str:
    """What the engine calls it with a Python."""
    return f"modelyard/cuda:{image.tag}-python{minor}"


class _Making(NamedTuple):
    """One such base on its way."""

    image: CudaImage
    minor: str
    architecture: str
    environ: Mapping[str, str]
    said: Talk
    show: Callable[[str], None]
    anew: bool

    @property
    def _python(self) -> str:
        folder = "/usr" if self.image.has_python else dockerfile.BROUGHT_PYTHON
        return f"{folder}/bin/python{self.minor}"

    def base(self) -> Base:
        store, memory = Layout(bases.home(self.environ)), Memory(bases.home(self.environ) / _MADE)
        text = dockerfile.with_python(self.image.name, self.minor, from_apt=self.image.has_python)
        key = hashlib.sha256(f"{text}\0{self.architecture}".encode()).hexdigest()
        known = None if self.anew else self._known(memory.get(key), store)
        if known is not None:
            return known
        engine = docker.Engine(self.environ)
        if engine.version() is None:
            raise executed.NeedsEngineError(
                f"cog.yaml: build.gpu wants {self.image.name} with a Python in it, which needs a Docker Engine, and"
                f" there is none {docker.place(self.environ)}",
                hint=f"start one; or leave CUDA to the model's packages with {FLAG}=false; or name a base that has"
                " both with --base-image",
            )
        self.said.say(f"Preparing {self.image.name} with Python {self.minor} in the Docker Engine")
        with engine.replacing(name(self.image, self.minor)):
            self._build()
            memory.put(key, self._saved(engine, store))
        made = self._known(memory.get(key), store)
        assert made is not None  # noqa: S101 - it was just put there
        return made

    def _build(self) -> None:
        with (
            docker_build.lent(self.environ, with_indexes=False) as lent,
            tempfile.TemporaryDirectory(prefix="yard-python-") as folder,
        ):
            if not self.image.has_python:
                lent = build_secrets.Borrowed()
                self._bring(Path(folder))
            order = docker_build.Order(
                text=dockerfile.with_python(self.image.name, self.minor, lent.files, from_apt=self.image.has_python),
                name=name(self.image, self.minor),
                anew=self.anew,
                folder=None if self.image.has_python else Path(folder),
                secrets=lent.flags,
                platform=docker_build.elsewhere(self.architecture),
                made_for="",
            )
            try:
                docker_build.build(order, self.environ, self.show)
            except docker_build.StepError as error:
                raise error.of(f"{self.image.name} could not be given a Python {self.minor}") from None

    def _bring(self, folder: Path) -> None:
        """A Python for the image, where its system has no package of it. Raises EngineError."""
        wanted = f"cpython-{self.minor}-linux-{_MACHINES[self.architecture]}-gnu"
        arguments = ["python", "install", "--no-bin", "--install-dir", str(folder / "all"), wanted]
        try:
            Uv(environ=self.environ).run(arguments, report=self.said.say)
        except UvError as error:
            raise docker.EngineError(
                f"{self.image.name} has no Python {self.minor} among its packages, and uv could not bring it: {error}",
                hint="write another python_version in cog.yaml, or name a base that has both with --base-image",
            ) from None
        (made,) = (path for path in (folder / "all").glob("cpython-*") if not path.is_symlink())
        # uv writes into it where it lies.
        for told in made.glob("lib/python3*/_sysconfigdata*.py"):
            text = told.read_text(encoding="utf-8")
            told.write_text(text.replace(str(made), dockerfile.BROUGHT_PYTHON), encoding="utf-8")
        made.rename(folder / "python")
        shutil.rmtree(folder / "all")

    def _saved(self, engine: docker.Engine, store: Layout) -> dict[str, Any]:
        """Take the engine's image over: its configuration and all of its layers."""
        config, layers = executed.saved(engine, name(self.image, self.minor), 0, labels.BASE_LAYER, store)
        return {"config": store.put(config), "size": len(config), "layers": [executed.as_json(one) for one in layers]}

    def _known(self, found: Mapping[str, Any], store: Layout) -> Base | None:
        layers: list[Layer] | None = executed.known(found, store, labels.BASE_LAYER)
        descriptor = Descriptor(media_type="", digest=str(found.get("config", "")), size=int(found.get("size", 0)))
        if layers is None or not store.has(descriptor):
            return None
        data = store.read(descriptor)
        config = replace(parse_config(data), diff_ids=tuple(layer.diff_id for layer in layers))
        target = Target(python=self._python, minor=self.minor, architecture=self.architecture)
        ref = f"docker.io/{self.image.name}"
        return Base(ref=ref, digest=digest_of(data), config=config, layers=tuple(layers), target=target, made_here=True)
