"""What an examination of a project finds, where, how bad it is, and what is to be done about it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from modelyard.packaging.doctor import machine
from modelyard.packaging.doctor.case import read
from modelyard.packaging.doctor.examination import CHECKS, Result, examine
from modelyard.packaging.doctor.findings import Finding
from modelyard.packaging.doctor.machine import Gpu, Machine

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
WELL = Machine(docker="", python=HERE, gpus=())
RUNNER = "class Runner:\n    def run(self, text: str) -> str:\n        return text\n"
YAML = 'run: "run.py:Runner"\n'
H100 = Gpu(name="NVIDIA H100", capability=(9, 0))
B200 = Gpu(name="NVIDIA B200", capability=(10, 0))
V100 = Gpu(name="Tesla V100", capability=(7, 0))


def examined(root: Path, *, seen: Machine = WELL, **files: str) -> dict[str, Result]:
    """The results by check; `cog_yaml` and `run` are those of a faultless project unless given."""
    for name, text in {"cog_yaml": YAML, "run": RUNNER, **files}.items():
        path = root / {"cog_yaml": "cog.yaml", "requirements": "requirements.txt"}.get(name, f"{name}.py")
        path.write_text(text)
    return {result.check.name: result for result in examine(lambda: read(root / "cog.yaml", seen), fix=False)}


def found(results: dict[str, Result], check: str) -> list[tuple[str, str]]:
    return [(finding.severity, finding.text) for finding in results[check].left or ()]


def only(results: dict[str, Result]) -> Finding:
    (finding,) = [finding for result in results.values() for finding in result.left or ()]
    return finding


def test_the_checks_have_their_order_groups_and_descriptions() -> None:
    assert [(check.name, check.group, check.about) for check in CHECKS] == [
        ("config-parse", "Config", "Config parsing"),
        ("config-schema", "Config", "Config schema"),
        ("predict-to-run-migration", "Config", "Deprecated predict interface names"),
        ("config-deprecated-fields", "Config", "Deprecated fields"),
        ("config-predict-ref", "Config", "Predict reference"),
        ("python-pydantic-basemodel", "Python", "Pydantic BaseModel workaround"),
        ("python-deprecated-imports", "Python", "Deprecated imports"),
        ("python-missing-type-annotations", "Python", "Type annotations"),
        ("env-docker", "Environment", "Docker"),
        ("env-python-version", "Environment", "Python version"),
        ("env-gpu-compat", "Environment", "GPU compatibility"),
        ("env-pip-settings", "Environment", "pip's settings"),
    ]


def test_a_faultless_project_has_no_findings(tmp_path: Path) -> None:
    assert {result.state for result in examined(tmp_path).values()} == {"ok"}


def test_nothing_of_the_project_is_run_or_written(tmp_path: Path) -> None:
    examined(tmp_path, run="raise SystemExit('run')\n" + RUNNER, other="raise SystemExit('imported')\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cog.yaml", "other.py", "run.py"]


# cog.yaml


def test_a_missing_cog_yaml_is_an_error_and_what_hangs_on_it_is_skipped(tmp_path: Path) -> None:
    results = {r.check.name: r for r in examine(lambda: read(tmp_path / "cog.yaml", WELL), fix=False)}
    finding = only(results)
    assert (finding.severity, finding.text) == ("error", "cog.yaml not found")
    assert finding.remedy == 'Run "yard init" to create a cog.yaml'
    skipped = [name for name, result in results.items() if result.state == "skipped"]
    asked = ("config-parse", "env-docker", "env-pip-settings")
    assert skipped == [check.name for check in CHECKS if check.name not in asked]


def test_a_cog_yaml_that_is_no_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    results = examined(tmp_path, cog_yaml="build:\n  gpu: [true\n")
    ((severity, text),) = found(results, "config-parse")
    assert severity == "error"
    assert text.startswith("cog.yaml:3 — invalid YAML: ")
    assert results["config-schema"].left is None


def test_every_wrong_value_is_an_error_with_its_line_and_an_unknown_key_is_only_told(tmp_path: Path) -> None:
    text = 'build:\n  python_version: "3"\n  gpus: true\nenvironment:\n  - oops\n' + YAML
    results = examined(tmp_path, cog_yaml=text)
    assert found(results, "config-schema") == [
        (
            "error",
            "cog.yaml:2 — invalid build.python_version \"3\": must include major and minor version (e.g., '3.11')",
        ),
        (
            "error",
            'cog.yaml:5 — invalid environment[0] "oops": environment variable "oops" is not in the KEY=VALUE format',
        ),
        ("info", 'cog.yaml:3 — unknown key "build.gpus" is ignored; did you mean "build.gpu"?'),
    ]
    assert results["config-schema"].state == "error"


def test_an_unknown_key_alone_leaves_the_check_without_a_fault(tmp_path: Path) -> None:
    results = examined(tmp_path, cog_yaml="build:\n  fast: false\n" + YAML)
    assert results["config-schema"].state == "info"


def test_deprecated_fields_are_warnings_that_name_what_is_better(tmp_path: Path) -> None:
    text = "build:\n  python_packages: [a]\n  pre_install: [echo a]\nconcurrency:\n  max: 1\n" + YAML
    results = examined(tmp_path, cog_yaml=text)
    assert found(results, "config-deprecated-fields") == [
        ("warning", 'cog.yaml:2 — "build.python_packages" is deprecated: use a requirements.txt file instead'),
        ("warning", 'cog.yaml:3 — "build.pre_install" is deprecated: use build.run instead'),
        ("warning", 'cog.yaml:5 — "concurrency.max" is deprecated: use @cog.concurrent instead'),
    ]
    assert found(results, "config-schema") == []


@pytest.mark.parametrize("key", ["run", "predict", "train"])
def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path, key: str) -> None:
    results = examined(tmp_path, cog_yaml=f"{key}: predict.py:Predictor\n")
    (finding,) = results["config-predict-ref"].left or ()
    assert (finding.severity, finding.text) == ("error", "cog.yaml:1 — predict.py not found")
    assert finding.remedy == f"Create predict.py or update the {key} field in cog.yaml"


def test_a_class_that_is_not_in_its_file_is_an_error_that_names_those_that_are(tmp_path: Path) -> None:
    results = examined(tmp_path, cog_yaml="predict: run.py:Predictor\n", run="class A: ...\nclass B: ...\n")
    (finding,) = results["config-predict-ref"].left or ()
    assert finding.text == 'cog.yaml:1 — class "Predictor" not found in run.py; found: A, B'
    assert finding.remedy == "Add class Predictor to run.py or update the predict field in cog.yaml"


@pytest.mark.parametrize(
    ("ref", "source"),
    [
        ("greet", "def greet(text: str) -> str: ...\n"),
        ("greet", "async def greet(text: str) -> str: ...\n"),
        ("Gone", "def predict(text: str) -> str: ...\n"),
        ("Runner", "from other import Runner\n"),
        ("Runner", "from package.of_somebody import Runner\n"),
    ],
)
def test_functions_and_imported_classes_are_found(tmp_path: Path, ref: str, source: str) -> None:
    results = examined(tmp_path, cog_yaml=f"run: run.py:{ref}\n", run=source, other=RUNNER)
    assert results["config-predict-ref"].state == "ok"


@pytest.mark.parametrize("value", ["run.py", "run.py:", "../run.py:Runner", "/run.py:Runner", "a.py:b.py:C"])
def test_a_reference_of_the_wrong_form_is_told_once(tmp_path: Path, value: str) -> None:
    finding = only(examined(tmp_path, cog_yaml=f"run: {value!r}\n"))
    assert finding.severity == "error"
    assert f'invalid run "{value}": must ' in finding.message


def test_a_reference_with_a_dot_before_it_is_the_same_file(tmp_path: Path) -> None:
    source = "class Runner:\n    def predict(self) -> str: ...\n"
    results = examined(tmp_path, cog_yaml="run: ./run.py:Runner\n", run=source)
    assert found(results, "config-predict-ref") == []
    assert results["predict-to-run-migration"].state == "warning"


@pytest.mark.parametrize("text", ["- a\n", "just text\n", "", "run:\n", "build: 3\nrun: [a]\n", "run: !!binary x\n"])
def test_a_cog_yaml_of_another_shape_is_told_and_never_a_traceback(tmp_path: Path, text: str) -> None:
    results = examined(tmp_path, cog_yaml=text)
    assert {result.state for result in results.values()} <= {"ok", "error", "skipped"}


CIRCLES = "import run\nfrom . import run\nfrom ...... import x\nimport a.b.c\n"


LONG = {
    "terms": "x = " + " + ".join(["ExperimentalFeatureWarning"] * 1500) + "\n",
    "elifs": "if y == 0:\n    x = 0\n" + "".join(f"elif y == {n}:\n    x = {n}\n" for n in range(1500)),
    "dots": "class A(a" + ".b" * 1500 + "): ...\nx = a" + ".b" * 1500 + "\n",
    "name": f"import {'a' * 300}\nfrom . import {'b' * 300}\n",
}


@pytest.mark.parametrize("kind", sorted(LONG))
@pytest.mark.parametrize("fix", [False, True])
def test_text_that_is_long_or_nested_without_an_end_is_read_without_a_traceback(
    tmp_path: Path, kind: str, fix: bool
) -> None:
    (tmp_path / "cog.yaml").write_text(YAML)
    source = "from cog.types import ExperimentalFeatureWarning\nimport a\n" + LONG[kind] + RUNNER
    (tmp_path / "run.py").write_text(source)
    results = {r.check.name: r for r in examine(lambda: read(tmp_path / "cog.yaml", WELL), fix=fix)}
    told = found(results, "config-predict-ref")
    assert told == ([("error", "run.py:3 — this statement is nested too deeply to be read")] if kind == "elifs" else [])
    state = results["python-deprecated-imports"].state
    assert state == ("skipped" if kind == "elifs" else "fixed" if fix else "error")


@pytest.mark.parametrize(
    "text",
    [f"run: {'a' * 300}.py:Runner\n", f"{YAML}build:\n  python_requirements: {'a' * 300}.txt\n"],
)
def test_a_name_that_no_file_can_have_is_an_error_like_any_other(tmp_path: Path, text: str) -> None:
    results = examined(tmp_path, cog_yaml=text)
    assert "aaaa" in only(results).message


@pytest.mark.parametrize("source", ["\0", CIRCLES + RUNNER, "(" * 5000])
def test_any_source_text_is_read_without_a_traceback(tmp_path: Path, source: str) -> None:
    state = examined(tmp_path, run=source)["config-predict-ref"].state
    assert state == ("ok" if RUNNER in source else "error")


def test_a_syntax_error_is_told_where_it_is(tmp_path: Path) -> None:
    results = examined(tmp_path, run="def run(:\n    pass\n")
    ((severity, text),) = found(results, "config-predict-ref")
    assert severity == "error"
    assert text.startswith("run.py:1 — syntax error: ")


@pytest.mark.parametrize("line", ["import helper\n", "from helper import Base\n", "from helper import *\n"])
def test_a_syntax_error_in_a_file_that_the_model_imports_is_told_once(tmp_path: Path, line: str) -> None:
    text = YAML + "train: run.py:train\n"
    source = line + RUNNER + "class Other(Base): ...\ndef train() -> str: ...\n"
    results = examined(tmp_path, cog_yaml=text, run=source, helper="def f(:\n")
    ((severity, told),) = found(results, "config-predict-ref")
    assert severity == "error"
    assert told.startswith("helper.py:1 — syntax error: ")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("class Runner: ...\n", "Runner must define run() or predict()"),
        (RUNNER + "    def predict(self) -> str: ...\n", "Runner must define either run() or predict(), not both"),
        ("Runner = make()\n", 'class or function "Runner" not found in run.py; found: no class'),
    ],
)
def test_a_class_that_cannot_answer_is_an_error(tmp_path: Path, source: str, reason: str) -> None:
    results = examined(tmp_path, run=source)
    (finding,) = results["config-predict-ref"].left or ()
    assert (finding.severity, finding.message) == ("error", reason)
    assert finding.file == "run.py"
    assert finding.remedy


def test_a_name_of_pythons_own_is_no_class_of_the_file(tmp_path: Path) -> None:
    (finding,) = examined(tmp_path, cog_yaml="run: run.py:str\n")["config-predict-ref"].left or ()
    assert finding.text == 'cog.yaml:1 — class "str" not found in run.py; found: Runner'


# The model's files


def test_old_names_are_warnings_in_cog_yaml_and_in_the_file(tmp_path: Path) -> None:
    source = "from cog import BasePredictor\n\nclass Predictor(BasePredictor):\n    def predict(self) -> str: ...\n"
    results = examined(tmp_path, cog_yaml="build:\n  gpu: false\npredict: predict.py:Predictor\n", predict=source)
    assert found(results, "predict-to-run-migration") == [
        ("warning", "cog.yaml:3 — predict in cog.yaml is deprecated; use run with run.py:Runner"),
        ("warning", "predict.py:3 — predict.py uses deprecated Predictor/BasePredictor/predict() names"),
    ]
    assert found(results, "config-deprecated-fields") == []


@pytest.mark.parametrize(
    "source",
    [
        "class Predictor:\n    def run(self) -> str: ...\n",
        "class Runner:\n    async def predict(self) -> str: ...\n",
        "from cog import BasePredictor as B\nclass Runner(B):\n    def run(self) -> str: ...\n",
        "import cog\nclass Runner(cog.BasePredictor):\n    def run(self) -> str: ...\n",
    ],
)
def test_each_old_name_is_seen_by_itself(tmp_path: Path, source: str) -> None:
    name = "Predictor" if "Predictor:" in source else "Runner"
    results = examined(tmp_path, cog_yaml=f"run: run.py:{name}\n", run=source)
    assert [severity for severity, _ in found(results, "predict-to-run-migration")] == ["warning"]


def test_a_predict_method_of_another_class_is_nobodys_business(tmp_path: Path) -> None:
    source = "class Network:\n    def predict(self): ...\n" + RUNNER
    assert examined(tmp_path, run=source)["predict-to-run-migration"].state == "ok"


@pytest.mark.parametrize(
    ("ref", "source", "name"),
    [
        ("Runner", "class Runner:\n    def run(self, text: str): ...\n", "Runner.run"),
        ("Runner", "class Base:\n    def run(self): ...\nclass Runner(Base): ...\n", "Runner.run"),
        ("greet", "def greet(text: str): ...\n", "greet"),
    ],
)
def test_a_missing_return_type_is_a_warning(tmp_path: Path, ref: str, source: str, name: str) -> None:
    finding = only(examined(tmp_path, cog_yaml=f"run: run.py:{ref}\n", run=source))
    assert (finding.severity, finding.message) == ("warning", f"{name}() is missing a return type annotation")
    assert finding.line == next(n for n, line in enumerate(source.splitlines(), 1) if "def " in line)


def test_the_training_function_needs_a_return_type_too(tmp_path: Path) -> None:
    text = YAML + "train: train.py:train\n"
    finding = only(examined(tmp_path, cog_yaml=text, train="def train(n: int): ...\n"))
    assert finding.text == "train.py:1 — train() is missing a return type annotation"


@pytest.mark.parametrize(
    "settings",
    [
        "    model_config = ConfigDict(arbitrary_types_allowed=True)\n",
        '    model_config = {"arbitrary_types_allowed": True}\n',
        "    class Config:\n        arbitrary_types_allowed = True\n",
    ],
)
def test_a_pydantic_model_that_lets_all_types_pass_is_an_error(tmp_path: Path, settings: str) -> None:
    source = f"from pydantic import BaseModel, ConfigDict\n\nclass Out(BaseModel):\n{settings}    a: object\n" + RUNNER
    finding = only(examined(tmp_path, run=source))
    assert finding.severity == "error"
    message = "Out inherits from pydantic.BaseModel with arbitrary_types_allowed; use cog.BaseModel instead"
    assert finding.text == f"run.py:3 — {message}"


@pytest.mark.parametrize(
    "source",
    [
        "from pydantic import BaseModel, ConfigDict\nclass Out(BaseModel):\n    a: int\n",
        "from pydantic import BaseModel, ConfigDict\nclass Out(BaseModel):\n"
        "    model_config = ConfigDict(arbitrary_types_allowed=False)\n",
        "from cog import BaseModel\nclass Out(BaseModel):\n    model_config = {'arbitrary_types_allowed': True}\n",
    ],
)
def test_other_models_are_left_in_peace(tmp_path: Path, source: str) -> None:
    assert examined(tmp_path, run=source + RUNNER)["python-pydantic-basemodel"].state == "ok"


def test_an_import_that_cog_dropped_is_an_error_also_in_a_file_that_the_model_imports(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "pkg" / "deep.py").write_text("\nfrom cog.types import ExperimentalFeatureWarning as W\n")
    finding = only(examined(tmp_path, run="def f():\n    from pkg import deep\n" + RUNNER))
    assert finding.severity == "error"
    assert finding.text.startswith("pkg/deep.py:2 — ExperimentalFeatureWarning was removed in cog 0.17; ")


def test_an_import_that_expects_to_fail_and_one_from_cog_itself_are_fine(tmp_path: Path) -> None:
    source = "from cog import ExperimentalFeatureWarning\n"
    source += "try:\n    from cog.types import ExperimentalFeatureWarning\nexcept ImportError:\n    pass\n"
    assert examined(tmp_path, run=source + RUNNER)["python-deprecated-imports"].state == "ok"


# The machine


def test_a_missing_docker_is_only_told_where_the_project_needs_none(tmp_path: Path) -> None:
    results = examined(tmp_path, seen=Machine(docker="docker was not found on PATH", python=HERE, gpus=()))
    assert found(results, "env-docker") == [("info", "Docker is not available: docker was not found on PATH")]


@pytest.mark.parametrize("build", ["system_packages: [ffmpeg]", "run: [echo hello]", "pre_install: [echo hello]"])
def test_a_missing_docker_is_an_error_where_the_project_needs_an_image(tmp_path: Path, build: str) -> None:
    text = f"build:\n  {build}\n{YAML}"
    results = examined(tmp_path, cog_yaml=text, seen=Machine(docker="no daemon", python=HERE, gpus=()))
    ((severity, message),) = found(results, "env-docker")
    assert severity == "error"
    assert message.startswith("Docker is not available: no daemon (needed for build.")


def test_another_python_than_the_models_is_only_told(tmp_path: Path) -> None:
    text = f'build:\n  python_version: "3.13"\n{YAML}'
    results = examined(tmp_path, cog_yaml=text, seen=Machine(docker="", python="3.10", gpus=()))
    assert found(results, "env-python-version") == [("info", "local Python is 3.10 but cog.yaml specifies 3.13")]
    assert results["env-python-version"].state == "info"


@pytest.mark.parametrize(
    ("gpu", "build", "torch", "message"),
    [
        (B200, "", "torch==2.6.0", "torch 2.6 has no kernels for NVIDIA B200 (compute capability 10.0)"),
        (B200, "", "torch==2.7.1", None),
        (B200, 'cuda: "12.4"', "torch==2.6.0", "CUDA 12.4 has no kernels for NVIDIA B200 (compute capability 10.0)"),
        (H100, 'cuda: "11.7"', "torch==1.13.0", "CUDA 11.7 has no kernels for NVIDIA H100 (compute capability 9.0)"),
        (H100, 'cuda: "12.4"', "torch==2.5.0", None),
        (V100, 'cuda: "13.0"', "torch==2.9.0", "CUDA 13.0 has no kernels for Tesla V100 (compute capability 7.0)"),
        (V100, 'cuda: "12.8"', "torch==2.9.0", None),
        (H100, "", "numpy==2.0.0", None),
        (B200, "", "Torch[opt] ===2.6.0+cu124", "torch 2.6 has no kernels for NVIDIA B200 (compute capability 10.0)"),
    ],
)
def test_wheels_without_kernels_for_the_gpu_are_a_warning(
    tmp_path: Path, gpu: Gpu, build: str, torch: str, message: str | None
) -> None:
    text = f"build:\n  gpu: true\n  python_requirements: requirements.txt\n  {build}\n{YAML}"
    seen = Machine(docker="", python=HERE, gpus=(gpu, gpu))
    results = examined(tmp_path, cog_yaml=text, requirements=f"{torch}\n", seen=seen)
    assert found(results, "env-gpu-compat") == ([] if message is None else [("warning", f"cog.yaml — {message}")])


def test_a_project_that_wants_no_gpu_is_not_held_against_one(tmp_path: Path) -> None:
    text = f"build:\n  python_requirements: requirements.txt\n{YAML}"
    seen = Machine(docker="", python=HERE, gpus=(B200,))
    results = examined(tmp_path, cog_yaml=text, requirements="torch==2.0.0\n", seen=seen)
    assert results["env-gpu-compat"].state == "ok"


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_machine_is_asked_through_its_own_programs(tmp_path: Path) -> None:
    program(tmp_path, "docker", "echo 27.0")
    program(tmp_path, "python3", "echo 3.14")
    program(tmp_path, "nvidia-smi", "echo 'NVIDIA H100 80GB HBM3, 9.0'; echo 'Old one, [N/A]'")
    seen = machine.observe({"PATH": f"{tmp_path}{os.pathsep}/bin"})
    assert seen == Machine(docker="", python="3.14", gpus=(Gpu(name="NVIDIA H100 80GB HBM3", capability=(9, 0)),))


def test_a_machine_with_none_of_it_is_told_why(tmp_path: Path) -> None:
    seen = machine.observe({"PATH": str(tmp_path)})
    assert seen == Machine(docker="docker was not found on PATH", python="", gpus=())


def test_a_docker_that_fails_says_its_last_line(tmp_path: Path) -> None:
    program(tmp_path, "docker", "echo one >&2; echo 'no daemon' >&2; exit 1")
    assert machine.observe({"PATH": f"{tmp_path}{os.pathsep}/bin"}).docker == "no daemon"


def test_cogs_variables_skip_docker_and_gpus(tmp_path: Path) -> None:
    seen = machine.observe({"PATH": str(tmp_path), "COG_SKIP_DOCKER_CHECK": "1", "COG_SKIP_GPU_CHECK": "1"})
    assert (seen.docker, seen.gpus) == (None, None)
    results = examined(tmp_path, seen=seen)
    assert results["env-docker"].state == results["env-gpu-compat"].state == "skipped"
