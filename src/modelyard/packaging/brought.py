"""What a project uses although its requirements do not name it, because Cog brought it along: read from the source.

Cog's own package always had dependencies, and up to 0.16 `cog.BaseModel` was pydantic's. Projects were written on top
of that, so what they import of it joins their lock.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from modelyard.packaging.config import Config
from modelyard.packaging.schema_source.modules import Defined, External, Module, Newer, Project, SchemaError, is_file

# Set beside a model whose every `cog.BaseModel` is pydantic's; `cog.pydantic_models` reads it.
VARIABLE: Final = "MODELYARD_PYDANTIC"
# The first Cog whose BaseModel is a dataclass, and the first that takes pydantic 2.
_DATACLASSES_FROM: Final = (0, 17)
_PYDANTIC_2_FROM: Final = (0, 9)

# Modules that came with Cog, of any version, or with the Python of its images, and the packages that hold them.
_BROUGHT: Final = {
    "attr": "attrs",
    "attrs": "attrs",
    "fastapi": "fastapi",
    "pip": "pip",
    "pkg_resources": "setuptools",
    "pydantic": "pydantic",
    "requests": "requests",
    "setuptools": "setuptools",
    "structlog": "structlog",
    "typing_extensions": "typing-extensions",
    "uvicorn": "uvicorn",
    "yaml": "PyYAML",
}
# pip as a program: `["pip", "install", …]`, `[sys.executable, "-m", "pip", …]`, `"pip install …"`.
_CALLS_PIP = re.compile(r"""["'](?:[^"'\n]*-m )?pip3?(?:["']| install )""")
# The same as a command of `build.run`.
_RUNS_PIP = re.compile(r"(?:^|[\s;&|(])(?:\S*/)?pip3? ")
# The last of its versions that have `pkg_resources`.
_SETUPTOOLS: Final = "setuptools<81"
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<place>\.*[\w.]*)[ \t]+import[ \t]*(?P<names>\([^)]*\)|[^\n#]*)"
    r"|import[ \t]+(?P<modules>[^\n#;]+))",
    re.MULTILINE,
)
_PYDANTIC_KEYWORDS: Final = frozenset({"extra", "arbitrary_types_allowed", "validate_assignment", "from_attributes"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MAX_FILES: Final = 2000


def packages(config: Config, root: Path, listed: Iterable[str], *, newer: Newer | None = None) -> tuple[str, ...]:
    """The requirements that the project at `root` lacks; `listed`: those that it has. Nothing of it is run.

    `newer` reads the files whose grammar our own parser does not know.
    """
    present = {_plain(name[0]) for line in listed if (name := _NAME.match(line))}
    project, modules, found = Project(root, newer), set[str](), set[str]()
    if any(_RUNS_PIP.search(each.command) for each in config.commands):
        modules.add("pip")
    for path, text in _files(root, [ref for ref in (config.run, config.train) if ref]):
        modules |= {module.partition(".")[0] for module, _ in _imports(text)}
        if "pip" in text and _CALLS_PIP.search(text):
            modules.add("pip")
        if "BaseModel" in text and "pydantic" not in found and _uses_pydantic(project, path, throughout(config)):
            found.add("pydantic")
    found |= {_BROUGHT[module] for module in modules & _BROUGHT.keys() if not _is_own(root, module)}
    missing = sorted(package for package in found if _plain(package) not in present)
    return tuple(_pinned(package, config) for package in missing)


def environment(config: Config) -> tuple[str, ...]:
    """`KEY=VALUE` for the model's process, beside what cog.yaml says."""
    return (f"{VARIABLE}=1",) if throughout(config) else ()


def throughout(config: Config) -> bool:
    """Whether the project is written for a Cog whose BaseModel was pydantic's."""
    version = _version(config)
    return version is not None and version < _DATACLASSES_FROM


def _version(config: Config) -> tuple[int, int] | None:
    match = re.match(r"(\d+)\.(\d+)", config.sdk_version or "")
    return (int(match[1]), int(match[2])) if match else None


def _pinned(package: str, config: Config) -> str:
    return _pydantic(config) if package == "pydantic" else _SETUPTOOLS if package == "setuptools" else package


def _pydantic(config: Config) -> str:
    version = _version(config)
    return f"pydantic>=1.9,<{2 if version is not None and version < _PYDANTIC_2_FROM else 3}"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_own(root: Path, module: str) -> bool:
    return (root / f"{module}.py").is_file() or (root / module).is_dir()


# The files that the model's own file imports


def _files(root: Path, refs: list[str]) -> Iterator[tuple[Path, str]]:
    """The files behind `refs` and those of the project that they import, each with its text."""
    waiting = [root / ref.partition(":")[0] for ref in refs]
    seen: set[Path] = set()
    while waiting and len(seen) < _MAX_FILES:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):  # whoever runs the model is told
            continue
        yield path, text
        for module, names in _imports(text):
            waiting += paths(root, path, module, names)


def _imports(text: str) -> Iterator[tuple[str, list[str]]]:
    """The modules that a text imports, and for `from` the names that may be modules of that package."""
    for match in _IMPORT.finditer(text):
        if match["place"] is not None:
            names = re.findall(r"\w+", re.sub(r"#[^\n]*|\bas\s+\w+", "", match["names"]))
            yield match["place"], names
        else:
            yield from ((part.split()[0], []) for part in match["modules"].split(",") if part.split())


def paths(root: Path, importer: Path, module: str, names: Iterable[str]) -> Iterator[Path]:
    """The files of the project that `importer` runs with `from module import names`, those of packages first.

    `module` has the dots that it is written with. For `import module` there are no names.
    """
    base = root
    dots = len(module) - len(module.lstrip("."))
    if dots:
        base = importer.parents[min(dots, len(importer.parents)) - 1]
        if not base.is_relative_to(root):
            return
    parts = [part for part in module.split(".") if part]
    folder = base.joinpath(*parts)
    candidates = [base.joinpath(*parts[:count], "__init__.py") for count in range(1, len(parts) + 1)]
    candidates += [folder.with_name(f"{folder.name}.py")] if parts else []
    for name in names:
        candidates += [folder / f"{name}.py", folder / name / "__init__.py"]
    yield from filter(is_file, candidates)


# pydantic's part in the models of a file


def _uses_pydantic(project: Project, path: Path, always: bool) -> bool:
    """Whether a class that derives from `cog.BaseModel` uses pydantic; `always`: whether there is one at all."""
    try:
        module = project.module(path)
    except SchemaError:  # no Python; the schema's reader says where
        return False
    classes = [node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    return any(_is_cogs(module, node) and (always or _body_uses(module, node)) for node in classes)


def _is_cogs(module: Module, cls: ast.ClassDef, depth: int = 0) -> bool:
    for base in cls.bases if depth < 16 else []:
        symbol = module.resolve(base)
        if symbol == External("cog.BaseModel"):
            return True
        if isinstance(symbol, Defined) and isinstance(symbol.node, ast.ClassDef):
            return _is_cogs(symbol.module, symbol.node, depth + 1)
    return False


def _body_uses(module: Module, cls: ast.ClassDef) -> bool:
    if any(keyword.arg in _PYDANTIC_KEYWORDS for keyword in cls.keywords):
        return True
    return any(_statement_uses(module, statement) for statement in cls.body)


def _statement_uses(module: Module, statement: ast.stmt) -> bool:
    """Only what the class itself holds: what a method does inside is its own matter."""
    parts: list[ast.expr] = []
    match statement:
        case ast.ClassDef(name="Config"):
            return True
        case ast.Assign(targets=targets, value=value):
            parts = [value]
            if any(isinstance(target, ast.Name) and target.id == "model_config" for target in targets):
                return True
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
            parts = [annotation, *([value] if value else [])]
            if name in ("model_config", "__root__"):
                return True
        case ast.FunctionDef(decorator_list=decorators) | ast.AsyncFunctionDef(decorator_list=decorators):
            parts = decorators
    names = (node for part in parts for node in ast.walk(part) if isinstance(node, ast.Name | ast.Attribute))
    return any(
        isinstance(symbol, External) and symbol.name.startswith("pydantic.") for symbol in map(module.resolve, names)
    )
