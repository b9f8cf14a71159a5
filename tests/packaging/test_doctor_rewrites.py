"""What --fix makes of files: the old names change, and no other byte does."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from modelyard.packaging.doctor.case import read
from modelyard.packaging.doctor.examination import Result, examine
from modelyard.packaging.doctor.machine import Machine

PREDICT_YAML = b"predict: predict.py:Predictor\n"
RUN_YAML = b"run: run.py:Runner\n"
RUNNER = "class Runner:\n    def run(self) -> str: ...\n"


def mended(root: Path, **files: bytes | str) -> dict[str, Result]:
    for name, content in files.items():
        path = root / ("cog.yaml" if name == "cog_yaml" else f"{name}.py")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return {result.check.name: result for result in examine(lambda: read(root / "cog.yaml", Machine()), fix=True)}


def contents(root: Path) -> dict[str, str]:
    return {path.name: path.read_bytes().decode() for path in root.iterdir()}


# The migration

OLD = '''\
#!/usr/bin/env python3
"""Predictor of BasePredictor: predict()"""
from typing import Any  # one
from cog import BasePredictor, Input   # two


class Model:
    def predict(self, x): return x


class Predictor( BasePredictor ):   # three

    def setup(self) -> None:
        self.model = Model( )

    # é predict
    async   def predict (
        self,
        text: str = Input(description="predict é"),
    ) -> Any:
        return self.model.predict(text) ;  # BasePredictor


if __name__ == "__main__": print(Predictor())
'''
NEW = (
    OLD.replace("import BasePredictor", "import BaseRunner")
    .replace("class Predictor( BasePredictor ):", "class Runner( BaseRunner ):")
    .replace("async   def predict (", "async   def run (")
    .replace("print(Predictor())", "print(Runner())")
)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_file_is_renamed_and_only_the_old_names_change(tmp_path: Path, end: str, mark: bytes) -> None:
    yaml = "# mine\nbuild:\n  gpu: false   # no\npredict: 'predict.py:Predictor'   # here\nimage: x\n"
    results = mended(tmp_path, cog_yaml=yaml.replace("\n", end), predict=mark + OLD.replace("\n", end).encode())
    assert results["predict-to-run-migration"].state == "fixed"
    assert len(results["predict-to-run-migration"].fixed) == 2
    new_yaml = yaml.replace("predict: 'predict.py:Predictor'", 'run: "run.py:Runner"')
    assert contents(tmp_path) == {
        "cog.yaml": new_yaml.replace("\n", end),
        "run.py": mark.decode() + NEW.replace("\n", end),
    }
    assert {result.state for result in mended(tmp_path).values()} == {"ok", "skipped"}


@pytest.mark.parametrize(
    "line",
    [
        "predict: predict.py:Predictor",
        'predict: "predict.py:Predictor"',
        "predict: 'predict.py:Predictor'",
        "predict:   predict.py:Predictor",
        "predict: predict.py:Predictor # why",
        "run: predict.py:Predictor",
    ],
)
def test_every_spelling_of_the_line_becomes_the_new_one(tmp_path: Path, line: str) -> None:
    mended(tmp_path, cog_yaml=f"{line}\n", predict="class Predictor:\n    def predict(self) -> str: ...\n")
    _, hash_sign, comment = line.partition(" #")
    assert contents(tmp_path)["cog.yaml"] == f'run: "run.py:Runner"{hash_sign}{comment}\n'
    assert contents(tmp_path)["run.py"] == RUNNER


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "from cog import BasePredictor as A\nclass Predictor(A):",
            "from cog import BaseRunner as A\nclass Runner(A):",
        ),
        ("import cog\nclass Predictor(cog.BasePredictor):", "import cog\nclass Runner(cog.BaseRunner):"),
        (
            "from cog import (\n    BasePredictor,  # a\n    Input,\n)\nclass Predictor(BasePredictor):",
            "from cog import (\n    BaseRunner,  # a\n    Input,\n)\nclass Runner(BaseRunner):",
        ),
        ("import torch\nclass Predictor:", "import torch\nclass Runner:"),
    ],
)
def test_the_base_is_renamed_however_it_is_reached(tmp_path: Path, old: str, new: str) -> None:
    body = "\n    @torch.no_grad()\n    def {}(self) -> str: ...\n"
    mended(tmp_path, cog_yaml=PREDICT_YAML, predict=old + body.format("predict"))
    assert contents(tmp_path)["run.py"] == new + body.format("run")


def test_a_class_with_a_new_name_keeps_its_file(tmp_path: Path) -> None:
    source = "from cog import BasePredictor\nclass Runner(BasePredictor):\n    def predict(self) -> str: ...\n"
    mended(tmp_path, cog_yaml=RUN_YAML, run=source)
    new = "from cog import BaseRunner\nclass Runner(BaseRunner):\n    def run(self) -> str: ...\n"
    assert contents(tmp_path) == {"cog.yaml": RUN_YAML.decode(), "run.py": new}


PLAIN = "class Predictor:\n    def predict(self) -> str: ...\n"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            {"predict": PLAIN, "run": "mine = 1\n"},
            "cannot migrate predict.py to run.py because run.py already exists",
        ),
        ({}, "cannot migrate predict.py to run.py because predict.py was not found"),
        (
            {"predict": PLAIN, "cog_yaml": "predict: predict.py:Predictor\ntrain: predict.py:train\n"},
            "Manual migration required: train of cog.yaml names predict.py too",
        ),
        (
            {"predict": PLAIN, "helper": "import os\nfrom predict import Predictor\n"},
            "Manual migration required: helper.py imports predict.py",
        ),
        (
            {"predict": PLAIN, "cog_yaml": '"predict": predict.py:Predictor\n'},
            "Manual migration required: no line of cog.yaml is predict: predict.py:Predictor",
        ),
        (
            {"other": PLAIN, "cog_yaml": "predict: other.py:Predictor\n"},
            "Manual migration required: cog.yaml names other.py:Predictor, not predict.py:Predictor",
        ),
        ({"predict": "class Runner: ...\n" + PLAIN}, "something called Runner already"),
        ({"predict": PLAIN + "    def run(self) -> str: ...\n"}, "Predictor defines run as well"),
        ({"predict": PLAIN + "    def predict(self) -> str: ...\n"}, "Predictor defines predict more than once"),
        ({"predict": PLAIN.replace("    def", "    @staticmethod\n    def")}, "Predictor.predict is no plain method"),
        ({"predict": PLAIN.replace("...", "self.predict()")}, "Predictor calls its own predict"),
        ({"predict": PLAIN.replace("...", "self.run")}, "Predictor uses the name self.run for something else"),
        ({"predict": "class Predictor(Base): ...\n"}, "Predictor has no method predict of its own"),
        ({"predict": "def Predictor() -> str: ...\n"}, "predict.py does not define one class Predictor"),
        ({"predict": "def f(:\n"}, "predict.py cannot be read as Python"),
        (
            {"predict": "from cog.predictor import BasePredictor\n" + PLAIN.replace("or:", "or(BasePredictor):")},
            "predict.py imports BasePredictor from cog.predictor",
        ),
        ({"predict": b"# coding: latin-1\n# \xe9\n" + PLAIN.encode()}, "predict.py is not UTF-8 text"),
    ],
)
def test_what_only_a_person_can_move_stays_as_it_is_and_says_why(
    tmp_path: Path, files: dict[str, str | bytes], reason: str
) -> None:
    given: dict[str, str | bytes] = {"cog_yaml": PREDICT_YAML, **files}
    result = mended(tmp_path, **given)["predict-to-run-migration"]
    assert result.state == "failed"
    assert reason in result.failure
    assert result.left
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    names = {"cog_yaml": "cog.yaml"}
    wanted = {names.get(n, f"{n}.py"): c if isinstance(c, bytes) else c.encode() for n, c in given.items()}
    assert after == wanted


def test_permissions_are_kept_and_nothing_else_is_left_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text(PLAIN)
    (tmp_path / "predict.py").chmod(0o750)
    mended(tmp_path, cog_yaml=PREDICT_YAML)
    assert stat.S_IMODE((tmp_path / "run.py").stat().st_mode) == 0o750
    assert sorted(contents(tmp_path)) == ["cog.yaml", "run.py"]


def test_a_file_that_is_a_link_out_of_the_project_is_not_written(tmp_path: Path) -> None:
    outside, root = tmp_path / "shared.py", tmp_path / "project"
    outside.write_text("from cog.types import ExperimentalFeatureWarning\n" + RUNNER)
    root.mkdir()
    (root / "run.py").symlink_to(outside)
    before = outside.read_text()
    result = mended(root, cog_yaml=RUN_YAML)["python-deprecated-imports"]
    assert "run.py is a link to a file outside of the project" in result.failure
    assert outside.read_text() == before


# Imports that Cog dropped


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("from cog.types import ExperimentalFeatureWarning\nx = 1\n", "x = 1\n"),
        ("from cog.types import ExperimentalFeatureWarning  # why\nx = 1\n", "x = 1\n"),
        ("from cog.types import A, ExperimentalFeatureWarning\n", "from cog.types import A\n"),
        ("from cog.types import ExperimentalFeatureWarning, A # b\n", "from cog.types import A # b\n"),
        ("from cog.types import A, ExperimentalFeatureWarning as W, B\n", "from cog.types import A, B\n"),
        (
            "from cog.types import (\n    A,\n    ExperimentalFeatureWarning,\n)\n",
            "from cog.types import (\n    A,\n)\n",
        ),
        ("x = 1; from cog.types import ExperimentalFeatureWarning\ny = 2\n", "x = 1\ny = 2\n"),
        ("from cog.types import ExperimentalFeatureWarning; x = 1 # a\n", "x = 1 # a\n"),
        (
            "import os, warnings\nfrom cog.types import ExperimentalFeatureWarning\n"
            "warnings.filterwarnings('ignore', category=ExperimentalFeatureWarning)\nprint(os)\n",
            "import os\nprint(os)\n",
        ),
        (
            "import warnings\nimport json\nfrom cog.types import ExperimentalFeatureWarning as W\n"
            "warnings.simplefilter(\n    'ignore',\n    W,\n)\n\n# kept\n",
            "import json\n\n# kept\n",
        ),
        (
            "import warnings\nfrom cog.types import ExperimentalFeatureWarning\n"
            "SILENT = (ExperimentalFeatureWarning,)\nwarnings.warn('x')\n",
            "import warnings\nwarnings.warn('x')\n",
        ),
        (
            "from cog.types import ExperimentalFeatureWarning\nimport warnings\ndef f():\n"
            "    warnings.simplefilter('ignore', ExperimentalFeatureWarning)  # a\n",
            "def f():\n    pass  # a\n",
        ),
    ],
)
def test_a_dropped_name_goes_with_all_that_was_there_for_it(tmp_path: Path, old: str, new: str) -> None:
    result = mended(tmp_path, cog_yaml=RUN_YAML, run=old + RUNNER)["python-deprecated-imports"]
    assert result.state == "fixed"
    assert contents(tmp_path)["run.py"] == new + RUNNER


@pytest.mark.parametrize(
    ("use", "line"),
    [
        ("with warnings.catch_warnings(ExperimentalFeatureWarning):\n    pass\n", 3),
        ("SILENT = ExperimentalFeatureWarning\nprint(SILENT)\n", 3),
        ("def f():\n    x = ExperimentalFeatureWarning\n    return x\n", 4),
        ("class Mine(ExperimentalFeatureWarning): ...\n", 3),
    ],
)
def test_a_dropped_name_that_other_code_needs_is_left_to_a_person(tmp_path: Path, use: str, line: int) -> None:
    source = "import warnings\nfrom cog.types import ExperimentalFeatureWarning\n" + use + RUNNER
    result = mended(tmp_path, cog_yaml=RUN_YAML, run=source)["python-deprecated-imports"]
    assert result.failure.startswith(f"Manual migration required: run.py:{line}: ")
    assert contents(tmp_path)["run.py"] == source


# Models of pydantic


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "from cog import A, B\nfrom pydantic import BaseModel, ConfigDict\n\nclass Out(BaseModel):\n"
            "    model_config = ConfigDict(arbitrary_types_allowed=True)\n\n    a: int\n",
            "from cog import A, B, BaseModel\n\nclass Out(BaseModel):\n\n    a: int\n",
        ),
        (
            "from cog import (\n    A,\n    B,\n)\nfrom pydantic import BaseModel, ConfigDict\nclass Out(BaseModel):\n"
            "    model_config = ConfigDict(arbitrary_types_allowed=True)\n    a: int\n",
            "from cog import (\n    A,\n    B,\n    BaseModel,\n)\nclass Out(BaseModel):\n    a: int\n",
        ),
        (
            "from cog import A\nfrom pydantic import BaseModel, ConfigDict, Field\nclass Out(BaseModel):\n"
            "    model_config = ConfigDict(arbitrary_types_allowed=True, extra='forbid')\n    a: int\nField\n",
            "from cog import A, BaseModel\nfrom pydantic import ConfigDict, Field\nclass Out(BaseModel):\n"
            "    model_config = ConfigDict(extra='forbid')\n    a: int\nField\n",
        ),
        (
            "from cog import A\nfrom pydantic import BaseModel\nclass Other(BaseModel):\n    a: int\n"
            "class Out(BaseModel):\n    class Config:\n        arbitrary_types_allowed = True\n    a: Other\n",
            "from cog import A, BaseModel as CogBaseModel\nfrom pydantic import BaseModel\n"
            "class Other(BaseModel):\n    a: int\nclass Out(CogBaseModel):\n    a: Other\n",
        ),
        (
            "from __future__ import annotations\nimport pydantic\nclass Out(pydantic.BaseModel):\n"
            "    model_config = {'arbitrary_types_allowed': True, 'extra': 'allow'}\n    a: int\n",
            "from __future__ import annotations\nfrom cog import BaseModel\nclass Out(BaseModel):\n"
            "    model_config = {'extra': 'allow'}\n    a: int\n",
        ),
        (
            "from pydantic import BaseModel\nclass Out(BaseModel, arbitrary_types_allowed=True):  # x\n    a: int\n",
            "from cog import BaseModel\nclass Out(BaseModel):  # x\n    a: int\n",
        ),
        (
            "from cog import BaseModel as Mine\nfrom pydantic import BaseModel, ConfigDict\nclass Out(BaseModel):\n"
            "    model_config = ConfigDict(arbitrary_types_allowed=True)\n",
            "from cog import BaseModel as Mine\nclass Out(Mine):\n    pass\n",
        ),
        (
            "from cog import A\nfrom pydantic import BaseModel, ConfigDict\n"
            "class One(BaseModel):\n    model_config = ConfigDict(arbitrary_types_allowed=True)\n    a: int\n"
            "class Two(BaseModel):\n    model_config = ConfigDict(arbitrary_types_allowed=True)\n    b: One\n",
            "from cog import A, BaseModel\nclass One(BaseModel):\n    a: int\nclass Two(BaseModel):\n    b: One\n",
        ),
    ],
)
def test_a_model_of_pydantics_becomes_one_of_cogs(tmp_path: Path, old: str, new: str) -> None:
    result = mended(tmp_path, cog_yaml=RUN_YAML, run=old + RUNNER)["python-pydantic-basemodel"]
    assert result.state == "fixed", result.failure
    assert contents(tmp_path)["run.py"] == new + RUNNER


def test_a_model_that_uses_more_of_pydantic_is_left_to_a_person(tmp_path: Path) -> None:
    source = "from pydantic import BaseModel, ConfigDict, Field\nclass Out(BaseModel):\n"
    source += "    model_config = ConfigDict(arbitrary_types_allowed=True)\n    a: int = Field(gt=1)\n"
    result = mended(tmp_path, cog_yaml=RUN_YAML, run=source + RUNNER)["python-pydantic-basemodel"]
    assert result.failure == "Manual migration required: Out uses Field of pydantic"
    assert contents(tmp_path)["run.py"] == source + RUNNER


def test_all_of_it_is_mended_in_one_go_and_a_second_look_finds_nothing(tmp_path: Path) -> None:
    source = (
        "import warnings\n\nfrom cog import BasePredictor, Path\nfrom cog.types import ExperimentalFeatureWarning\n"
        "from pydantic import BaseModel, ConfigDict\n\n"
        "warnings.filterwarnings('ignore', category=ExperimentalFeatureWarning)\n\n\n"
        "class Out(BaseModel):\n    model_config = ConfigDict(arbitrary_types_allowed=True)\n    file: Path\n\n\n"
        "class Predictor(BasePredictor):\n    def predict(self) -> Out: ...\n"
    )
    results = mended(tmp_path, cog_yaml=PREDICT_YAML, predict=source)
    assert sum(len(result.fixed) for result in results.values()) == 4
    assert contents(tmp_path)["run.py"] == (
        "\nfrom cog import BaseRunner, Path, BaseModel\n\n\n\n"
        "class Out(BaseModel):\n    file: Path\n\n\n"
        "class Runner(BaseRunner):\n    def run(self) -> Out: ...\n"
    )
    assert {result.state for result in mended(tmp_path).values()} == {"ok", "skipped"}
