"""--fix never breaks a project: what it says to have mended imports and runs, and what it cannot mend stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.packaging.doctor.case import read
from modelyard.packaging.doctor.examination import Result, examine
from modelyard.packaging.doctor.machine import Machine

SDK = Path(__file__).parents[2] / "sdk" / "src"
RUN_YAML = "run: run.py:Runner\n"
PREDICT_YAML = "predict: predict.py:Predictor\n"
RUNNER = "class Runner:\n    def run(self) -> str:\n        return 'ran'\n"
BODY = "    def predict(self, text: str = 'a') -> str:\n        return text\n"

MIGRATION, MODELS, IMPORTS = "predict-to-run-migration", "python-pydantic-basemodel", "python-deprecated-imports"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)


def mended(root: Path) -> dict[str, Result]:
    return {result.check.name: result for result in examine(lambda: read(root / "cog.yaml", Machine()), fix=True)}


def contents(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): p.read_text() for p in root.rglob("*") if p.is_file()}


def ran(root: Path, code: str) -> str:
    """What a program prints that stands beside the project, with this checkout's SDK."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{SDK}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def refused(root: Path, check: str, reason: str, files: dict[str, str], code: str) -> None:
    """The project runs, mending is refused, every file is as it was."""
    write(root, files)
    before = ran(root, code)
    result = mended(root)[check]
    assert (result.state, result.fixed) == ("failed", ())
    assert reason in result.failure
    assert contents(root) == files
    assert ran(root, code) == before


# Models of pydantic

HEAD = "from pydantic import BaseModel, ConfigDict, Field\nclass T:\n    pass\n"
OUT = "class Out(BaseModel):\n    model_config = ConfigDict(arbitrary_types_allowed=True)\n"


@pytest.mark.parametrize(
    "old",
    [
        OUT + "    t: T\n    a: int = 1\n",
        OUT + "    t: T\n    a: tuple[int, int] = (1, -2)\n    b: str | None = None\n    def both(self) -> int: ...\n",
        "class Out(BaseModel):\n    'words'\n    class Config:\n        arbitrary_types_allowed = True\n    t: T\n",
        "class Out(BaseModel, arbitrary_types_allowed=True):\n    t: T\n",
        OUT.replace("True)", "True, extra='forbid')") + "    t: T\n",
        "class Out(BaseModel):\n    model_config = {'arbitrary_types_allowed': True, 'frozen': True}\n    t: T\n",
        "class Out(BaseModel, arbitrary_types_allowed=True):\n    model_config = {'extra': 'allow'}\n    t: T\n",
        "import enum\nclass E(enum.Enum):\n    A = enum.auto()\nN = 3\n"
        + OUT
        + "    t: T\n    e: E = E.A\n    n: int = N\n",
        OUT + "    t: T\nclass Two(BaseModel, arbitrary_types_allowed=True):\n    out: Out\nTwo(out=Out(t=T()))\n",
        OUT + "    t: T\nclass Other(BaseModel):\n    a: int = Field(ge=0)\nOther(a=1)\n",
        OUT + "    t: T\n    def plain(self) -> dict: return self.copy(update={}).dict() or self.model_dump()\n",
    ],
)
def test_a_mended_model_takes_a_foreign_type_as_before(tmp_path: Path, old: str) -> None:
    write(tmp_path, {"cog.yaml": RUN_YAML, "run.py": HEAD + old + RUNNER})
    code = "import run; out = run.Out(t=run.T()); print(type(out.t).__name__, run.Runner().run())"
    assert ran(tmp_path, code) == "T ran"
    result = mended(tmp_path)[MODELS]
    assert (result.state, result.failure) == ("fixed", "")
    assert ran(tmp_path, code) == "T ran"


def test_what_else_a_mended_model_asks_of_pydantic_goes_on(tmp_path: Path) -> None:
    old = HEAD + "class Out(BaseModel):\n"
    old += "    model_config = ConfigDict(arbitrary_types_allowed=True, extra='forbid')\n    t: T\n" + RUNNER
    write(tmp_path, {"cog.yaml": RUN_YAML, "run.py": old})
    assert mended(tmp_path)[MODELS].state == "fixed"
    code = "import run\ntry:\n    run.Out(t=run.T(), b=1)\nexcept ValueError as error:\n"
    code += "    print(error.errors()[0]['type'])"
    assert ran(tmp_path, code) == "extra_forbidden"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (OUT + "    a: int = 1\n    b: int\n", "run.py:7: Out.b has no default, but one before it has"),
        (OUT + "    c: list = []\n", "the default of Out.c is no plain value"),
        ("EMPTY = []\n" + OUT + "    c: list = EMPTY\n", "the default of Out.c is no plain value"),
        (OUT + "    _a: int = 1\n", "Out._a is private in pydantic"),
        (OUT + "    a: int\n    def __init__(self, a): BaseModel.__init__(self, a=a)\n", "Out uses __init__"),
        (OUT + "    a: int\n    def __new__(cls, **data): return object.__new__(cls)\n", "Out has __new__"),
        (OUT + "    a: int = 1\n    def model_post_init(self, _): print(1)\n", "Out has model_post_init"),
        (OUT + "    if True:\n        a: int\n", "Out has more in its body than fields and methods"),
        (
            "class Mix: ...\nclass Out(Mix, BaseModel, arbitrary_types_allowed=True):\n    a: int\n",
            "Out has other bases",
        ),
        ("class Out(BaseModel, arbitrary_types_allowed=True, strict=True):\n    a: int\n", "Out has other bases"),
        (
            "class Out(BaseModel):\n    class Config:\n        arbitrary_types_allowed = True\n"
            "        extra = 'forbid'\n    a: int\n",
            "Out has Config, which means something to pydantic",
        ),
        (OUT + "class Sub(Out):\n    x: int = Field(ge=1)\n", "run.py:6: Sub derives from a class"),
        (OUT + "    t: T\nclass Other(BaseModel):\n    out: Out\n", "run.py:8: Other holds a class"),
        (OUT + "    t: T\nOuts = list[Out]\nclass Other(BaseModel):\n    outs: 'Outs'\n", "Other holds a class"),
        (OUT + "    a: int\nOut.model_validate({'a': 1})\n", ".model_validate may be pydantic's"),
        (OUT + "    a: int\nOut(a=1).model_dump(exclude={'a'})\n", ".model_dump() is called with more"),
        (OUT + "    a: int\nOut(a=1, b=2)\n", "Out is made from more than its fields"),
        (OUT + "    a: int\nOut(**{'a': 1, 'b': 2})\n", "Out is made from more than its fields"),
        (OUT + "    a: int\nassert isinstance(Out(a=1), BaseModel)\n", "isinstance() asks for pydantic's BaseModel"),
        (OUT + "    t: T\nfrom pydantic import TypeAdapter\nTypeAdapter(list[Out])\n", "pydantic is given a class"),
        (OUT + "    a: int = 1\n    def f(self): return super().dict()\n", "Out calls a method of pydantic's"),
        (OUT + "    a: int\ngetattr(Out(a=1), 'json')()\n", "getattr() may ask for what is pydantic's"),
        (OUT + "    a: int\nM = {'a': Out}\nM['a'](a=1, b=2)\n", "Out is handed on to other code"),
        (OUT + "    a: int\ntype.__call__(Out, a=1, b=2)\n", "Out is handed on to other code"),
        (OUT + "    a: int\n__all__ = ['BaseModel']\n", "run.py names what it has of pydantic in a text"),
        (OUT + "    a: int\ndef f(BaseModel): ...\n", "run.py imports pydantic in an unusual way"),
    ],
)
def test_a_model_that_needs_pydantic_is_left_as_it_is(tmp_path: Path, source: str, reason: str) -> None:
    refused(tmp_path, MODELS, reason, {"cog.yaml": RUN_YAML, "run.py": HEAD + source + RUNNER}, "import run")


UNUSUAL = "run.py imports pydantic in an unusual way"
FLAGGED = "class Out(BaseModel, arbitrary_types_allowed=True):\n    a: int\n"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("from pydantic import *\n" + FLAGGED, UNUSUAL),
        ("try:\n    from pydantic import BaseModel\nexcept ImportError:\n    BaseModel = object\n" + FLAGGED, UNUSUAL),
        ('"""doc"""; import pydantic\n' + FLAGGED.replace("Base", "pydantic.Base"), "it shares its line with another"),
        ("import pydantic\nBase = pydantic.BaseModel\n" + FLAGGED.replace("BaseModel", "Base"), UNUSUAL),
        ("from pydantic import BaseModel\nCogBaseModel = 1\n" + FLAGGED + "class B(BaseModel): ...\n", "CogBaseModel"),
    ],
)
def test_an_import_of_pydantic_in_an_unusual_place_is_left_as_it_is(tmp_path: Path, source: str, reason: str) -> None:
    refused(tmp_path, MODELS, reason, {"cog.yaml": RUN_YAML, "run.py": source + RUNNER}, "import run; run.Out(a=1)")


def test_the_new_import_stands_above_the_class_also_where_that_of_cog_is_below(tmp_path: Path) -> None:
    source = "from pydantic import BaseModel\n" + FLAGGED + "from cog import Input, BaseModel as Ours\n" + RUNNER
    write(tmp_path, {"cog.yaml": RUN_YAML, "run.py": source})
    assert mended(tmp_path)[MODELS].state == "fixed"
    assert ran(tmp_path, "import run; print(run.Out(a=1), run.Ours.__module__)") == "Out(a=1) cog.model"


@pytest.mark.parametrize(
    "run",
    [
        "from parts import BaseModel, Out\nclass In(BaseModel):\n    a: int\n",
        "from parts import *\nclass In(BaseModel):\n    a: int\n",
        "import parts\nclass In(parts.BaseModel):\n    a: int\n",
    ],
)
def test_what_another_file_takes_of_pydantic_from_the_models_file_stays_there(tmp_path: Path, run: str) -> None:
    files = {"cog.yaml": RUN_YAML, "run.py": run + RUNNER, "parts.py": "from pydantic import BaseModel\n" + FLAGGED}
    refused(tmp_path, MODELS, "takes what parts.py has of pydantic", files, "import run; run.In(a='1')")


def test_a_model_is_left_where_a_class_in_another_file_derives_from_it(tmp_path: Path) -> None:
    other = "from pydantic import Field\nfrom parts import Out as O\nclass Sub(O):\n    x: int = Field(ge=1)\n"
    files = {"cog.yaml": RUN_YAML, "run.py": other + RUNNER, "parts.py": "from pydantic import BaseModel\n" + FLAGGED}
    refused(tmp_path, MODELS, "run.py:3: Sub derives from a class", files, "import run")


# The migration


def test_a_migrated_class_imports_and_answers(tmp_path: Path) -> None:
    source = "from cog import BasePredictor\nclass Predictor(BasePredictor):\n" + BODY
    source += "def again() -> str:\n    return Predictor().predict('b')\n"
    write(tmp_path, {"cog.yaml": PREDICT_YAML, "predict.py": source})
    assert mended(tmp_path)[MIGRATION].state == "fixed"
    assert ran(tmp_path, "import run; print(run.Runner().run(), run.again())") == "a b"


PLAIN = "class Predictor:\n" + BODY


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "from cog import BasePredictor\nclass Base(BasePredictor):\n" + BODY + "class Predictor(Base):\n" + BODY,
            "Predictor has a base, Base, with a predict or run as well",
        ),
        ("import ast\nclass Predictor(ast.NodeVisitor):\n" + BODY, "has a base, ast.NodeVisitor, which is not read"),
        (
            "class Base:\n    def go(self): return self.predict()\nclass Predictor(Base):\n" + BODY,
            "Predictor has a base, Base",
        ),
        (PLAIN + "    predict = staticmethod(predict)\n", "uses the name predict or run in its own body"),
        (PLAIN + "    __call__ = predict\n", "uses the name predict or run in its own body"),
        (PLAIN + "    def f(self): return getattr(self, 'predict')()\n", "predict stands in a text"),
        (PLAIN + "getattr(Predictor(), 'predict')()\n", "predict stands in a text"),
        (PLAIN + "import sys\nsys.modules[__name__].Predictor\n", ".Predictor may be the class"),
        (PLAIN + "Predictor().predict('x')\n", "predict is called outside of Predictor"),
        (PLAIN + "class Sub(Predictor):\n" + BODY, "Sub derives from Predictor"),
        (PLAIN + "def make(Predictor): return Predictor()\n", "Predictor is the name of something else as well"),
        (
            PLAIN + "def f():\n    from collections import OrderedDict as Predictor\n    return Predictor()\nf()\n",
            "Predictor is the name of something else as well",
        ),
        (PLAIN + "__all__ = ['Predictor']\n", "Predictor stands in a text"),
        (PLAIN + "def f(a: 'list[Predictor]'): ...\n", "Predictor stands in a text"),
        (PLAIN + "def f(Runner): return Predictor\n", "something called Runner already"),
        (
            "from cog import BasePredictor\nclass BaseRunner: ...\nclass Predictor(BasePredictor):\n" + BODY,
            "something called BaseRunner already",
        ),
        (
            "from cog import BasePredictor\nclass Predictor(BasePredictor):\n" + BODY + "def f():\n"
            "    from cog import BasePredictor\n    return BasePredictor\nf()\n",
            "BasePredictor is the name of something else as well",
        ),
    ],
)
def test_a_class_whose_users_need_the_old_names_is_left_as_it_is(tmp_path: Path, source: str, reason: str) -> None:
    files = {"cog.yaml": PREDICT_YAML, "predict.py": source}
    refused(tmp_path, MIGRATION, reason, files, "import predict; print(predict.Predictor)")


@pytest.mark.parametrize(
    ("file", "user"),
    [
        ("run.py", "from run import Runner\nRunner().predict()\n"),
        ("run.py", "import importlib\nimportlib.import_module('run').Runner().predict()\n"),
        ("pkg/model.py", "from pkg.model import Runner\nRunner().predict()\n"),
        ("pkg/model.py", "import pkg.model\npkg.model.Runner().predict()\n"),
        ("pkg/__init__.py", "from pkg import Runner\nRunner().predict()\n"),
        ("pkg/model.py", "from pkg import model\nmodel.Runner().predict()\n"),
    ],
)
def test_a_method_that_another_file_calls_keeps_its_name(tmp_path: Path, file: str, user: str) -> None:
    files = {"cog.yaml": f"run: {file}:Runner\n", file: "class Runner:\n" + BODY, "test_it.py": user}
    refused(tmp_path, MIGRATION, f"test_it.py imports {file}", files, "import test_it")


def test_a_line_behind_a_byte_order_mark_is_migrated(tmp_path: Path) -> None:
    (tmp_path / "cog.yaml").write_bytes(b"\xef\xbb\xbf" + PREDICT_YAML.encode())
    write(tmp_path, {"predict.py": PLAIN})
    assert mended(tmp_path)[MIGRATION].state == "fixed"
    assert (tmp_path / "cog.yaml").read_bytes() == b'\xef\xbb\xbfrun: "run.py:Runner"\n'


def test_a_migration_that_was_cut_off_can_be_begun_anew(tmp_path: Path) -> None:
    write(tmp_path, {"cog.yaml": PREDICT_YAML, "predict.py": PLAIN, "run.py": PLAIN.replace("Predictor", "Runner")})
    assert "run.py already exists" in mended(tmp_path)[MIGRATION].failure
    (tmp_path / "run.py").write_text(PLAIN.replace("Predictor", "Runner").replace("predict(", "run("))
    assert mended(tmp_path)[MIGRATION].state == "fixed"
    assert sorted(contents(tmp_path)) == ["cog.yaml", "run.py"]
    assert ran(tmp_path, "import run; print(run.Runner().run())") == "a"


# Imports that Cog dropped

DROPPED = "from cog.types import ExperimentalFeatureWarning\n"


@pytest.mark.parametrize(
    ("helper", "run", "reason"),
    [
        (DROPPED + "SILENT = ExperimentalFeatureWarning\n", "from helper import SILENT\n", "run.py:1 takes names"),
        (DROPPED, "from helper import ExperimentalFeatureWarning\n", "run.py:1 takes names from helper.py"),
        (
            "import warnings\n" + DROPPED + "warnings.simplefilter('ignore', ExperimentalFeatureWarning)\n",
            "from helper import warnings\n",
            "run.py:1 takes names from helper.py",
        ),
        (DROPPED + "def f(ExperimentalFeatureWarning):\n    print(ExperimentalFeatureWarning)\n", "", "something else"),
        (
            DROPPED + "SILENT = ExperimentalFeatureWarning\n__all__ = ['SILENT']\n",
            "",
            "helper.py names SILENT in a text",
        ),
        (DROPPED + "def f():\n    yield ExperimentalFeatureWarning\n", "", "other code needs the statement"),
    ],
)
def test_a_dropped_name_that_others_rely_on_is_left_as_it_is(
    tmp_path: Path, helper: str, run: str, reason: str
) -> None:
    files = {"cog.yaml": RUN_YAML, "helper.py": helper, "run.py": run + "import helper\n" + RUNNER}
    refused(tmp_path, IMPORTS, reason, files, "import run")


def test_a_project_without_the_dropped_name_imports(tmp_path: Path) -> None:
    source = "import warnings\n" + DROPPED + "warnings.simplefilter('ignore', ExperimentalFeatureWarning)\n" + RUNNER
    write(tmp_path, {"cog.yaml": RUN_YAML, "run.py": source})
    assert mended(tmp_path)[IMPORTS].state == "fixed"
    assert ran(tmp_path, "import run; print(run.Runner().run())") == "ran"


def test_nothing_is_mended_beside_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    files = {"cog.yaml": RUN_YAML, "run.py": "import helper\n" + DROPPED + RUNNER, "helper.py": "def f(:\n"}
    write(tmp_path, files)
    assert "helper.py cannot be read" in mended(tmp_path)[IMPORTS].failure
    assert contents(tmp_path) == files
