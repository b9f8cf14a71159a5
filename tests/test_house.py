"""The walls and budgets of the house, read from the source text: who may import whom, and how large things may grow.

The floors (who stands above whom) are an import-linter contract in pyproject.toml; what is here is finer, or is
something that tool cannot see: circles made of type-only or late imports, the environment, clocks, sizes.
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from modelyard import logs

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (ROOT / "sdk" / "src", ROOT / "runner" / "src", ROOT / "src")
TEXT_SUFFIXES = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".lock", ".lua", ".sh", ""}

# Rooms of modelyard that may do what the rest may not. Each is a module or a package (then: all below it).
ADAPTERS = ("db.sqlite", "db.postgres", "blobs.disk", "blobs.s3", "engines.process", "engines.docker", "engines.ray")
ROOF = ("app", "doors", "serving", "storage", "cli")
WEB = ("starlette", "uvicorn", "python_multipart")
WEB_ROOMS = ("rest", "auth", "api", "registry", "web", "host", "metrics", *ROOF)
FOREIGN = {  # library → rooms that may know it
    "aiohttp": ("predictions.webhooks", "api", "oci.client", "engines.docker", *ROOF),
    "sqlalchemy": ("db",),
    "alembic": ("db.migrations",),
    "psycopg": ("db",),
    "aiodocker": ("engines.docker",),
    "sqlite3": ("db",),
    "obstore": ("blobs",),
    "ruamel": ("packaging",),
    "cryptography": ("sealing", "tls"),
    "click": ("cli",),
    "rich": ("cli",),
    "prometheus_client": ("metrics",),
}
CLOCK_ROOMS = ("ids", "settings", *ROOF)
CLOCKS = re.compile(
    r"(^|\.)(time\.time(_ns)?|datetime\.(utc)?now|date\.today|uuid[14]|random\.\w+"
    r"|secrets\.(token_\w+|choice|randbelow|randbits))$"
)
ENVIRONMENT_ROOMS = ("modelyard.settings", "modelyard_runner.__main__")


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    name: str
    path: Path
    text: str
    tree: ast.Module

    def within(self, *rooms: str) -> bool:
        """Whether this is one of the rooms of modelyard, or inside one."""
        return any(_inside(self.name, f"modelyard.{room}") for room in rooms)


def _inside(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


@cache
def modules() -> dict[str, Module]:
    found = {}
    for source in SOURCES:
        for path in sorted(source.rglob("*.py")):
            parts = path.relative_to(source).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text()
            found[name] = Module(name=name, path=path, text=text, tree=ast.parse(text, str(path)))
    return found


def imported(module: Module, *, tree: ast.AST | None = None) -> Iterator[tuple[str, int]]:
    """Every name that an import statement anywhere in the module mentions, as an absolute dotted name and a line."""
    package = module.name if module.path.name == "__init__.py" else module.name.rpartition(".")[0]
    for node in ast.walk(tree or module.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def resolve(name: str) -> str | None:
    """The module of ours that an imported name is, or is a member of."""
    while name:
        if name in modules():
            return name
        name = name.rpartition(".")[0]
    return None


@cache
def edges() -> dict[str, frozenset[str]]:
    return {
        name: frozenset(target for target, _ in map(_resolved, imported(module)) if target and target != name)
        for name, module in modules().items()
    }


def _resolved(found: tuple[str, int]) -> tuple[str | None, int]:
    return resolve(found[0]), found[1]


def offenders(rule: Iterator[str]) -> None:
    """Fail with every place that breaks a rule, not with the first."""
    broken = sorted(set(rule))
    assert not broken, "\n" + "\n".join(broken)


def dotted(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""


# Who may import whom


def test_no_modules_import_each_other_in_a_circle() -> None:
    circles = [sorted(group) for group in _strongly_connected(edges()) if len(group) > 1]
    assert not circles, f"type-only and late imports count too: {circles}"


def _strongly_connected(graph: dict[str, frozenset[str]]) -> list[set[str]]:
    """Groups of nodes that reach one another (Kosaraju: order by finish, then walk the reversed graph)."""
    reverse: dict[str, set[str]] = {name: set() for name in graph}
    for name, targets in graph.items():
        for target in targets:
            reverse[target].add(name)
    order: list[str] = []
    seen: set[str] = set()
    for name in graph:
        _finish(graph, name, seen, order)
    groups, placed = [], set[str]()
    for name in reversed(order):
        group: list[str] = []
        _finish(reverse, name, placed, group)
        groups.append(set(group))
    return groups


def _finish(
    graph: dict[str, frozenset[str]] | dict[str, set[str]], start: str, seen: set[str], order: list[str]
) -> None:
    if start in seen:
        return
    seen.add(start)
    for target in graph[start]:
        _finish(graph, target, seen, order)
    order.append(start)


@pytest.mark.parametrize("face", ["cog", "modelyard_runner.worker", "modelyard_runner.inference"])
def test_what_stands_beside_a_model_needs_only_the_standard_library(face: str) -> None:
    reached, waiting = (
        set[str](),
        [name for name in modules() if name == face or (face == "cog" and _inside(name, "cog"))],
    )
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(edges()[name])
    allowed = sys.stdlib_module_names | {"cog"} | ({"modelyard_runner"} if face != "cog" else set())
    offenders(
        f"{name}:{line} imports {target}"
        for name in reached
        for target, line in imported(modules()[name])
        if target.partition(".")[0] not in allowed
    )


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_the_half_in_the_box_imports_with_site_packages_switched_off(version: str) -> None:
    python = _python_of(version)
    if python is None:
        return  # which Pythons a machine has is not ours to demand; the floor is held by lint's target version too
    code = (
        f"import sys; sys.path[:0] = {[str(source) for source in SOURCES[:2]]!r}\n"
        "import cog, modelyard_runner.worker, modelyard_runner.inference\n"
        "print(*sorted(m for m in sys.modules if m.partition('.')[0] not in sys.stdlib_module_names))"
    )
    done = subprocess.run([python, "-S", "-E", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    strangers = {name for name in done.stdout.split() if name.partition(".")[0] not in {"cog", "modelyard_runner"}}
    assert strangers <= {"__main__", "__mp_main__"}


def _python_of(version: str) -> str | None:
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for candidate in [*map(str, kept), f"python{version}"]:
        try:
            subprocess.run([candidate, "-c", ""], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    return None


def test_adapters_are_known_to_the_roof_alone() -> None:
    offenders(
        f"{module.name} imports {target}"
        for module in modules().values()
        if not module.within(*ROOF)
        for target in edges()[module.name]
        if _is_adapter(target) and not _same_adapter(module.name, target)
    )


def _is_adapter(name: str) -> bool:
    builder = _inside(name, "modelyard.packaging.builders") and not name.endswith((".builders", ".base"))
    return builder or any(_inside(name, f"modelyard.{adapter}") for adapter in ADAPTERS)


def _same_adapter(importer: str, target: str) -> bool:
    """A part of an adapter knows its other parts; so does one builder another, since they are layers of one thing."""
    return importer.rpartition(".")[0] == target.rpartition(".")[0] and _is_adapter(importer)


def test_the_web_framework_is_known_to_doors_and_roof_alone() -> None:
    offenders(
        f"{module.name}:{line} imports {target}"
        for module in modules().values()
        if _inside(module.name, "modelyard") and not module.within(*WEB_ROOMS)
        for target, line in imported(module)
        if target.partition(".")[0] in WEB
    )


@pytest.mark.parametrize("library", sorted(FOREIGN))
def test_a_library_is_known_to_its_rooms_alone(library: str) -> None:
    offenders(
        f"{module.name}:{line} imports {target}"
        for module in modules().values()
        if _inside(module.name, "modelyard") and not module.within(*FOREIGN[library])
        for target, line in imported(module)
        if target.partition(".")[0] == library
    )


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("packaging", ("accounts", "models", "files", "db", "rest", "settings", "predictions", "scheduler")),
        ("weights", ("accounts", "models", "files", "db", "rest", "settings", "predictions", "scheduler", "store")),
        ("registry", ("models", "files", "packaging", "weights", "predictions", "trainings", "scheduler", "store")),
        ("oci", ("db", "rest", "settings", "accounts", "models")),
        ("predictions", ("scheduler",)),
        ("api", ("scheduler", "engines")),
        ("web", ("scheduler", "engines")),
    ],
)
def test_a_room_does_not_know_what_it_must_work_without(room: str, forbidden: tuple[str, ...]) -> None:
    offenders(
        f"{name} imports {target}"
        for name in modules()
        if _inside(name, f"modelyard.{room}")
        for target in edges()[name]
        if any(_inside(target, f"modelyard.{other}") for other in forbidden)
    )


def test_only_one_command_knows_how_a_server_is_put_together() -> None:
    offenders(
        f"{name} imports {target}"
        for name in modules()
        if _inside(name, "modelyard.cli") and name not in {"modelyard.cli.server", "modelyard.cli.up"}
        for target in edges()[name]
        if _inside(target, "modelyard.app") or _inside(target, "modelyard.serving") or _inside(target, "modelyard.api")
    )


def test_inner_packages_re_export_nothing() -> None:
    offenders(
        f"{name}/__init__.py re-exports {target}"
        for name, module in modules().items()
        if module.path.name == "__init__.py" and name != "cog"
        for target, _ in imported(module)
        if _inside(target, name)
    )


# What reaches outside


def test_the_environment_is_read_in_one_module_of_each_program() -> None:
    offenders(
        f"{name}:{node.lineno} reads the environment"
        for name, module in modules().items()
        if name not in ENVIRONMENT_ROOMS and not _inside(name, "cog")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.expr)
        and dotted(node) in {"os.environ", "os.getenv", "os.putenv", "environ", "getenv"}
        and not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
        and _from_os(module, node)
    )


def _from_os(module: Module, node: ast.AST) -> bool:
    """`environ` alone is the environment only where it was imported from os; as a parameter it is an argument."""
    return isinstance(node, ast.Attribute) or any(
        t.startswith("os.") for t, _ in imported(module) if t.endswith(dotted(node))
    )


def test_clocks_and_randomness_are_arguments() -> None:
    offenders(
        f"{name}:{node.lineno} calls {dotted(node.func)}"
        for name, module in modules().items()
        if (_inside(name, "modelyard") and not module.within(*CLOCK_ROOMS)) or name == "modelyard_runner.prediction"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and CLOCKS.search(dotted(node.func))
    )


def test_help_loads_no_web_framework_no_database_layer_and_no_http_client() -> None:
    code = (
        "import sys\nfrom modelyard.cli.main import main\nsys.argv = ['yard', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    heavy = {
        *WEB,
        "sqlalchemy",
        "alembic",
        "sqlite3",
        "psycopg",
        "aiohttp",
        "httpx",
        "requests",
        "obstore",
        "rich",
        "asyncio",
    }
    assert not loaded & heavy
    assert "Usage" in done.stdout


# Sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    place: str
    lines: int


def _functions() -> list[Sized]:
    return [
        Sized(place=f"{name}:{node.lineno} {node.name}", lines=_length(node))
        for name, module in modules().items()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """Lines of code: a docstring explains, it does not grow what it explains."""
    docstring = node.body[0] if ast.get_docstring(node) is not None else None
    explained = docstring.end_lineno - docstring.lineno + 1 if docstring and docstring.end_lineno else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - explained


def _p90(sizes: list[int]) -> int:
    return sorted(sizes)[int(len(sizes) * 0.9)]


def test_modules_stay_small() -> None:
    sizes = {name: len(module.text.splitlines()) for name, module in modules().items() if module.text.strip()}
    offenders(f"{name} has {lines} lines (at most 450)" for name, lines in sizes.items() if lines > 450)
    assert _p90(list(sizes.values())) <= 400


def test_functions_stay_small() -> None:
    functions = _functions()
    offenders(f"{f.place} has {f.lines} lines (at most 60)" for f in functions if f.lines > 60)
    lengths = [f.lines for f in functions]
    assert statistics.median(lengths) <= 10
    assert _p90(lengths) <= 35


def test_classes_stay_small() -> None:
    offenders(
        f"{name}:{node.lineno} {node.name} has {_length(node)} lines and {_methods(node)} methods (at most 350 and 20)"
        for name, module in modules().items()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and (_length(node) > 350 or _methods(node) > 20)
    )


def _methods(node: ast.ClassDef) -> int:
    """What it can do: neither its construction and operators nor its properties, which are what it is."""
    members = [member for member in node.body if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)]
    return sum(not _is_nature(member) for member in members)


def _is_nature(member: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return member.name.startswith("__") or any(dotted(d).endswith("property") for d in member.decorator_list)


def test_what_takes_many_arguments_takes_them_by_name() -> None:
    offenders(
        f"{name}:{node.lineno} {node.name} takes {_by_position(node)} by position (at most 6)"
        for name, module in modules().items()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and _by_position(node) > 6
        and node.name != "Input"  # Cog's signature, not ours to change
        and not any("click." in ast.unparse(decorator) for decorator in node.decorator_list)  # called by name
    )


def _by_position(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return len(node.args.posonlyargs) + len(node.args.args)


# Manners


def test_every_module_says_what_it_is_for() -> None:
    offenders(
        f"{name} has no docstring"
        for name, module in modules().items()
        if module.text.strip() and not (ast.get_docstring(module.tree) or "").strip()
    )


def test_a_line_of_the_log_says_what_it_is_about_by_the_names_that_the_log_knows() -> None:
    offenders(
        f"{name}:{key.lineno} logs with {key.value!r}"
        for name, module in modules().items()
        if _inside(name, "modelyard")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.keyword) and node.arg == "extra" and isinstance(node.value, ast.Dict)
        for key in node.value.keys
        if isinstance(key, ast.Constant) and key.value not in logs.IDS
    )


def test_unfinished_work_is_not_left_in_the_text() -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
    offenders(
        f"{path.relative_to(ROOT)}:{number}"
        for path in _written_by_us()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marks.search(line)
    )


def _written_by_us() -> Iterator[Path]:
    listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in listing.stdout.splitlines():
        path = ROOT / name
        if path.suffix in TEXT_SUFFIXES and path.is_file() and path.name != "LICENSE":
            yield path


def test_no_package_index_is_named() -> None:
    hosts = re.compile(
        "|".join(["py" + r"pi\.org", "python" + r"hosted\.org", "--index" + "-url http", "registry" + r"\.npmjs"])
    )
    offenders(str(path.relative_to(ROOT)) for path in _written_by_us() if hosts.search(path.read_text()))


def test_every_exception_from_the_type_checker_has_its_code_and_there_are_few() -> None:
    bare, total, lines = [], 0, 0
    for name, module in modules().items():
        lines += len(module.text.splitlines())
        for number, line in enumerate(module.text.splitlines(), 1):
            if "# type: ignore" in line:
                total += 1
                if "# type: ignore[" not in line:
                    bare.append(f"{name}:{number}")
    assert not bare
    assert total <= 3 * lines / 1000


def test_no_test_patches_the_house_by_path() -> None:
    patches = re.compile(r"mock\.patch|(?<![.\w])patch\(\s*['\"]|monkeypatch\.setattr\(\s*['\"]")
    offenders(
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if patches.search(line)
    )
