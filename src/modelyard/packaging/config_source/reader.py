"""The tree of a cog.yaml, key by key, to the values of a configuration; collects every fault instead of stopping."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from modelyard.packaging.config_source import checks
from modelyard.packaging.config_source.checks import Refused
from modelyard.packaging.config_source.collector import KINDS, Collector, Problem
from modelyard.packaging.config_source.records import Command, Mount, Source, Weight
from modelyard.packaging.config_source.tree import Node
from modelyard.packaging.schema_source.modules import is_file

_TOP: Final = ("build", "image", "model", "run", "predict", "train", "concurrency", "environment", "weights")
_BUILD: Final = (
    "python_version",
    "gpu",
    "cuda",
    "cudnn",
    "python_requirements",
    "python_packages",
    "system_packages",
    "run",
    "pre_install",
    "sdk_version",
)


def read(document: Node, root: Path) -> tuple[dict[str, Any], list[Problem], list[Problem]]:
    """The values by their names in `Config`, the problems, and the warnings. Files are looked for below `root`."""
    reader = _Reader(root)
    reader.top(document)
    return reader.values, reader.see.problems, reader.see.warnings


class _Reader:
    """Carries what was read so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.values: dict[str, Any] = {}
        self.see = Collector()

    def top(self, document: Node) -> None:
        """The whole file."""
        if document.kind != "map":
            found = KINDS[document.kind]
            self.see.problems.append(
                Problem(line=document.line, key="", reason=f"must be a mapping of keys, found {found}")
            )
            return
        self.see.known(document, "", _TOP)
        self._build(self.see.map(document, "", "build"))
        self._references(document)
        self._set("image", self.see.text(document, "", "image", str))
        self._set("model", self.see.text(document, "", "model", checks.repository))
        self._concurrency(self.see.map(document, "", "concurrency"))
        self._environment(document)
        self._weights(document)
        self._names(document)
        if self.values.get("gpu") and not self.see.problems:
            self._complete(document)

    # The parts of the file

    def _build(self, build: Node | None) -> None:
        if build is None:
            return
        self.see.known(build, "build", _BUILD)
        version = self.see.text(build, "build", "python_version", checks.python_version)
        if version is not None:
            self._set("python_version", version[0])
            written = build.get("python_version")
            if version[1]:
                self.see.warn(written, "build.python_version", version[1])
            elif written is not None and written.value != version[0]:
                self._set("patch", written.value)
        self._set("gpu", self._gpu(build))
        self._set("cuda", self.see.text(build, "build", "cuda", checks.cuda))
        cuda = self.values.get("cuda")
        self._set("cudnn", self.see.text(build, "build", "cudnn", lambda t: checks.cudnn_for(cuda, t) if cuda else t))
        self._set("sdk_version", self.see.text(build, "build", "sdk_version", checks.sdk_version))
        self._requirements(build)
        self._set("system_packages", self.see.texts(build, "build", "system_packages", checks.command))
        commands = [*self._commands(build, "run"), *self._commands(build, "pre_install")]
        self._set("commands", tuple(commands))
        for old, new in (("python_packages", "build.python_requirements"), ("pre_install", "build.run")):
            if build.get(old):
                self.see.deprecated(build, f"build.{old}", new)

    def _gpu(self, build: Node) -> bool | None:
        node = build.get("gpu")
        if node is not None and node.quoted:
            # As in Cog: in quotes it is a text, whatever it says.
            self.see.wrong_kind(node, "build.gpu", "true or false without quotes")
            return None
        return self.see.text(build, "build", "gpu", checks.boolean)

    def _requirements(self, build: Node) -> None:
        file = self.see.text(build, "build", "python_requirements", self._file)
        packages = self.see.texts(build, "build", "python_packages", checks.requirement)
        if file is not None and packages:
            reason = "only one of python_packages or python_requirements can be set, not both"
            self.see.problem(build.get("python_packages"), "build.python_packages", reason)
        self._set("python_requirements", file)
        self._set("python_packages", packages)

    def _file(self, text: str) -> str:
        path = (self.root / text).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise Refused("must be a file inside the project", "write the path relative to cog.yaml")
        if not is_file(path):
            raise Refused("file does not exist", f"create it, or remove the key: {path}")
        return text

    def _commands(self, build: Node, name: str) -> Iterator[Command]:
        key = f"build.{name}"
        for place, item in self.see.items(build, "build", name):
            where = f"{key}[{place}]"
            if item.kind == "map":
                self.see.known(item, where, ("command", "mounts"))
                command = self.see.text(item, where, "command", checks.command, required=True)
                mounts = tuple(self._mounts(item, where))
            else:
                command, mounts = self.see.scalar(item, where, checks.command), ()
            if command is not None:
                yield Command(command=command, mounts=mounts)

    def _mounts(self, item: Node, key: str) -> Iterator[Mount]:
        for place, mount in self.see.items(item, key, "mounts"):
            where = f"{key}.mounts[{place}]"
            if mount.kind != "map":
                self.see.wrong_kind(mount, where, "a mapping with type, id and target")
                continue
            self.see.known(mount, where, ("type", "id", "target"))
            kind = self.see.text(mount, where, "type", _secret, required=True)
            identity = self.see.text(mount, where, "id", str, required=True)
            target = self.see.text(mount, where, "target", str, required=True)
            if kind and identity and target:
                yield Mount(type=kind, id=identity, target=target)

    def _references(self, document: Node) -> None:
        run = self.see.text(document, "", "run", lambda text: checks.reference(text, "run.py:Runner"))
        predict = self.see.text(document, "", "predict", lambda text: checks.reference(text, "run.py:Runner"))
        if document.get("run") and document.get("predict"):
            self.see.problem(
                document.get("run"), "run", "only one of run or predict can be set", hint="remove `predict`"
            )
        elif document.get("predict"):
            self.see.deprecated(document, "predict", "run")
        self._set("run", run or predict)
        self._set(
            "train", self.see.text(document, "", "train", lambda text: checks.reference(text, "train.py:Trainer"))
        )

    def _concurrency(self, concurrency: Node | None) -> None:
        if concurrency is None:
            return
        self.see.known(concurrency, "concurrency", ("max", "default_target"))
        self.see.text(concurrency, "concurrency", "default_target", checks.whole_number)
        most = self.see.text(concurrency, "concurrency", "max", checks.whole_number)
        if concurrency.get("max"):
            self.see.deprecated(concurrency, "concurrency.max", "@cog.concurrent")
        version = self.values.get("python_version", "3.11")
        if most is not None and most > 1 and tuple(map(int, version.split("."))) < (3, 11):
            self.see.problem(concurrency.get("max"), "concurrency.max", "concurrency requires Python 3.11 or higher")
        self._set("concurrency", most)

    def _environment(self, document: Node) -> None:
        lines: list[str] = []
        for place, item in self.see.items(document, "", "environment"):
            rule = functools.partial(checks.environment, taken=[line.partition("=")[0] for line in lines])
            line = self.see.scalar(item, f"environment[{place}]", rule)
            if line is not None:
                lines.append(line)
                if warning := checks.setup_timeout(line):
                    self.see.warn(item, f"environment[{place}]", warning)
        self._set("environment", tuple(lines))

    def _weights(self, document: Node) -> None:
        found: list[Weight] = []
        for place, item in self.see.items(document, "", "weights"):
            key = f"weights[{place}]"
            if item.kind != "map":
                self.see.wrong_kind(item, key, "a mapping with name, target and source")
                continue
            self.see.known(item, key, ("name", "target", "source"))
            name = self.see.text(item, key, "name", checks.weight_name, required=True)
            if name in [weight.name for weight in found]:
                self.see.problem(item.get("name"), f"{key}.name", "is already the name of another weight", name)
            rule = functools.partial(checks.weight_target, taken=[weight.target for weight in found])
            target = self.see.text(item, key, "target", rule, required=True)
            sources = tuple(self._sources(item, key))
            if name and target:
                found.append(Weight(name=name, target=target, sources=sources))
        self._set("weights", tuple(found))

    def _sources(self, weight: Node, key: str) -> Iterator[Source]:
        node = weight.get("source")
        items = node.value if node is not None and node.kind == "list" else [node] if node is not None else []
        if not items:
            self.see.problem(weight, f"{key}.source", "is required", hint="source: {uri: hf://org/repo}")
        for place, item in enumerate(items):
            where = f"{key}.source[{place}]" if len(items) > 1 else f"{key}.source"
            if item.kind != "map":
                self.see.wrong_kind(item, where, "a mapping with a uri")
                continue
            self.see.known(item, where, ("uri", "include", "exclude"))
            uri = self.see.text(item, where, "uri", checks.weight_uri, required=True)
            include = self.see.texts(item, where, "include", checks.pattern)
            exclude = self.see.texts(item, where, "exclude", checks.pattern)
            if uri is not None:
                yield Source(uri=uri, include=include or (), exclude=exclude or ())

    def _names(self, document: Node) -> None:
        if document.get("image") and document.get("model"):
            self.see.problem(document.get("model"), "model", "'model' and 'image' cannot both be set")
        if document.get("weights") and not document.get("model"):
            reason = "weights require 'model' in cog.yaml — rename 'image' to 'model'"
            hint = "" if document.get("image") else "there is no `image` here: add `model: owner/name`"
            self.see.problem(document.get("weights"), "weights", reason, hint=hint)

    def _complete(self, document: Node) -> None:
        """The CUDA and cuDNN that the file leaves open, by what is required; and whether all that goes together."""
        from modelyard.packaging import requirements  # late: only projects with a GPU need them
        from modelyard.packaging.compatibility import resolution

        build = document.get("build")
        values = self.values
        python = values.get("python_version") or f"{sys.version_info.major}.{sys.version_info.minor}"
        try:
            wanted = requirements.read(self.root, values.get("python_requirements"), values.get("python_packages", ()))
            choice = resolution.choose(
                wanted.packages, python=python, cuda=values.get("cuda"), cudnn=values.get("cudnn")
            )
        except requirements.RequirementsError:
            return  # told when they are resolved
        except resolution.IncompatibleError as error:
            node = build.get(error.key.partition(".")[2]) if build else None
            self.see.problem(node, error.key, error.reason, node.value if node else None, hint=error.hint)
            return
        for warning in choice.warnings:
            self.see.warn(build.get("gpu") if build else None, "build.gpu", warning)
        self._set("cuda", choice.cuda)
        self._set("cudnn", choice.cudnn)

    def _set(self, name: str, value: Any) -> None:
        if value is not None:
            self.values[name] = value


def _secret(text: str) -> str:
    if text != "secret":
        raise Refused("must be 'secret'")
    return text
