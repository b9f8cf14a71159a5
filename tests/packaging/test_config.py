"""Every key of cog.yaml: what it becomes, and what is said about a wrong one, with its line."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.packaging import config
from modelyard.packaging.config import Command, Config, ConfigError, Mount, Source, Weight
from modelyard.packaging.config_source import tree

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"

EVERYTHING = """\
build:
  gpu: true
  python_version: 3.12
  cuda: 12.4
  cudnn: "9"
  python_requirements: requirements.txt
  system_packages: [ffmpeg, "libgl1"]
  sdk_version: 0.23.1
  run:
    - echo one
    - command: >-
        echo two
        three
      mounts:
        - {type: secret, id: token, target: /etc/token}
model: registry.example:5000/alice/model
run: "run.py:Runner"
train: train.py:Trainer
concurrency:
  max: 4
environment:
  - A=1
  - B=x=y
weights:
  - name: base
    target: /src/weights/base
    source: {uri: "hf://org/repo@main", include: ["*.safetensors"], exclude: [a, b]}
  - name: lora.v1
    target: /src/weights/lora
    source:
      - uri: ./folder
      - uri: https://example.com/file.bin
"""


def project(root: Path, text: str) -> Path:
    (root / "cog.yaml").write_text(text)
    return root


def load(root: Path, text: str) -> Config:
    return config.load(project(root, text))


def problems(root: Path, text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(ConfigError) as caught:
        load(root, text)
    return [(problem.line, problem.key, problem.reason) for problem in caught.value.problems]


def test_every_key_is_read(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("torch==2.5.0\n")
    found = load(tmp_path, EVERYTHING)
    assert found == Config(
        python_version="3.12",
        run="run.py:Runner",
        train="train.py:Trainer",
        gpu=True,
        cuda="12.4",
        cudnn="9",
        python_requirements="requirements.txt",
        system_packages=("ffmpeg", "libgl1"),
        commands=(
            Command(command="echo one"),
            Command(command="echo two three", mounts=(Mount(type="secret", id="token", target="/etc/token"),)),
        ),
        sdk_version="0.23.1",
        model="registry.example:5000/alice/model",
        concurrency=4,
        environment=("A=1", "B=x=y"),
        weights=(
            Weight(
                name="base",
                target="/src/weights/base",
                sources=(Source(uri="hf://org/repo@main", include=("*.safetensors",), exclude=("a", "b")),),
            ),
            Weight(
                name="lora.v1",
                target="/src/weights/lora",
                sources=(Source(uri="./folder"), Source(uri="https://example.com/file.bin")),
            ),
        ),
        warnings=('cog.yaml:20: deprecated field "concurrency.max": use "@cog.concurrent" instead',),
    )
    assert found.variables == {"A": "1", "B": "x=y"}


def test_the_label_has_what_other_tools_read(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("")
    label = load(tmp_path, EVERYTHING).to_json()
    assert list(label) == ["build", "model", "predict", "train", "concurrency", "environment", "weights"]
    assert label["predict"] == "run.py:Runner"
    assert label["build"]["run"] == [
        {"command": "echo one"},
        {"command": "echo two three", "mounts": [{"type": "secret", "id": "token", "target": "/etc/token"}]},
    ]
    assert label["weights"][0]["source"]["include"] == ["*.safetensors"]
    assert json.loads(json.dumps(label)) == label
    assert config.parse(b"run: a.py:B", root=tmp_path, default_python="3.11").to_json() == {
        "build": {"python_version": "3.11"},
        "predict": "a.py:B",
    }


@pytest.mark.parametrize("text", ["", "# nothing\n", "build:\n", "build: {}\n", "image:\nrun: ~\n"])
def test_a_file_may_say_nothing(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == Config(python_version=RUNNING)


@pytest.mark.parametrize(
    ("written", "used"),
    [("3.10", "3.10"), ('"3.11"', "3.11"), ("3.13.2", "3.13"), ("3.20", "3.20"), ("'3.12'", "3.12")],
)
def test_a_python_version_keeps_its_zeroes_and_loses_its_patch(tmp_path: Path, written: str, used: str) -> None:
    assert load(tmp_path, f"build:\n  python_version: {written}\n").python_version == used


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "numpy>1",
        "numpy == 2.0+cu128 # newer",
        "a.b_c[x, y] (>=1.0, !=1.2.*)",
        "x~=1.0,<2; python_version < '3.9' and sys_platform == \"linux\"",
        "x @ https://example.org/x.whl",
        "git+https://example.org/x@v1",
        "./wheels/x-1-py3-none-any.whl",
        "my wheel.zip",
        "--find-links https://example.org",
        "x==1 --hash=sha256:00",
    ],
)
def test_a_requirement_is_taken_as_pip_takes_it(tmp_path: Path, line: str) -> None:
    assert load(tmp_path, f"build:\n  python_packages:\n    - {json.dumps(line)}\n").python_packages == (line,)


def test_a_target_may_lie_in_a_folder_of_the_system(tmp_path: Path) -> None:
    for target in ("/opt/weights", "/root/.cache/x", "/models", "/srcs", "/usr/local/share/x", "/tmp/x"):
        text = f"model: a/b\nweights:\n  - {{name: a, target: {target}, source: {{uri: b}}}}\n"
        assert load(tmp_path, text).weights[0].target == target


def test_an_old_python_gives_a_warning_and_the_oldest_that_works(tmp_path: Path) -> None:
    found = load(tmp_path, 'build:\n  python_version: "3.8"\n')
    assert found.python_version == "3.10"
    assert found.warnings == ("cog.yaml:2: minimum supported Python version is 3.10; 3.10 is used instead of 3.8",)


@pytest.mark.parametrize(
    ("text", "line", "key", "reason"),
    [
        ("build: 3", 1, "build", "must be a mapping, found text"),
        ("build: [a]", 1, "build", "must be a mapping, found a list"),
        ("build:\n  python_version: 3", 2, "build.python_version", "must include major and minor version"),
        ("build:\n  python_version: three", 2, "build.python_version", "invalid major version number"),
        ("build:\n  python_version: 2.7", 2, "build.python_version", "minimum supported Python version is 3.10"),
        ("build:\n  python_version: 4.1", 2, "build.python_version", "must be a version of Python 3"),
        ("build:\n  python_version: [3.11]", 2, "build.python_version", "must be text, found a list"),
        ("build:\n  gpu: perhaps", 2, "build.gpu", "must be true or false"),
        ('build:\n  gpu: "yes"', 2, "build.gpu", "must be true or false without quotes, found text"),
        ("build:\n  python_packages:\n    - numpy\n    - num py", 4, "build.python_packages[1]", "is no requirement"),
        ("build:\n  python_packages: [numpy=1.0]", 2, "build.python_packages[0]", "is no requirement"),
        ("build:\n  python_packages: [numpy==]", 2, "build.python_packages[0]", "is no requirement"),
        ("build:\n  cuda: 11", 2, "build.cuda", "must include both major and minor versions (e.g., '11.8')"),
        ("build:\n  cuda: 10.2", 2, "build.cuda", "minimum supported CUDA version is 11"),
        ("build:\n  cuda: 11.8\n  cudnn: 9", 3, "build.cudnn", "CUDA 11.8 is incompatible with CuDNN 9: compatible"),
        ("build:\n  python_requirements: no.txt", 2, "build.python_requirements", "file does not exist"),
        ("build:\n  python_requirements: ../a", 2, "build.python_requirements", "must be a file inside the project"),
        ("build:\n  python_packages: numpy", 2, "build.python_packages", "must be a list, found text"),
        ("build:\n  python_packages: [[a]]", 2, "build.python_packages[0]", "must be text, found a list"),
        ("build:\n  system_packages: {a: b}", 2, "build.system_packages", "must be a list, found a mapping"),
        ("build:\n  sdk_version: newest", 2, "build.sdk_version", "must be a version"),
        ('build:\n  run:\n    - "a\\nb"', 3, "build.run[0]", "contains a new line"),
        ("build:\n  run:\n    - mounts: []", 3, "build.run[0].command", "is required"),
        ("build:\n  run:\n    - command: a\n      mounts: [b]", 4, "build.run[0].mounts[0]", "must be a mapping with"),
        (
            "build:\n  run:\n    - command: a\n      mounts:\n        - {type: bind, id: a, target: b}",
            5,
            "build.run[0].mounts[0].type",
            "must be 'secret'",
        ),
        ("build:\n  pre_install:\n    - [a]", 3, "build.pre_install[0]", "must be text, found a list"),
        ("image: {a: b}", 1, "image", "must be text, found a mapping"),
        ("model: a/b:latest", 1, "model", "must be a bare repository"),
        ("model: a/b@sha256:00", 1, "model", "must be a bare repository"),
        ("model: a/b\nimage: c", 1, "model", "'model' and 'image' cannot both be set"),
        ("run: run.py", 1, "run", "must be in the form 'run.py:Runner'"),
        ("run: run.py:A.py:B", 1, "run", "must be in the form 'run.py:Runner'"),
        ("run: ../run.py:A", 1, "run", "must name a file inside the project"),
        ("run: a.py:A\npredict: b.py:B", 1, "run", "only one of run or predict can be set"),
        ("predict: run", 1, "predict", "must be in the form 'run.py:Runner'"),
        ("train: train", 1, "train", "must be in the form 'train.py:Trainer'"),
        ("concurrency: 3", 1, "concurrency", "must be a mapping, found text"),
        ("concurrency:\n  max: 0", 2, "concurrency.max", "must be at least 1"),
        ("concurrency:\n  max: many", 2, "concurrency.max", "must be a whole number"),
        ("concurrency:\n  default_target: 1.5", 2, "concurrency.default_target", "must be a whole number"),
        (
            "build:\n  python_version: '3.10'\nconcurrency:\n  max: 2",
            4,
            "concurrency.max",
            "concurrency requires Python 3.11 or higher",
        ),
        ("environment: {A: 1}", 1, "environment", "must be a list, found a mapping"),
        ("environment:\n  - A", 2, "environment[0]", 'environment variable "A" is not in the KEY=VALUE format'),
        ("environment:\n  - 1A=2", 2, "environment[0]", "is not in the KEY=VALUE format"),
        ("environment:\n  - A=1\n  - A=2", 3, "environment[1]", 'environment variable "A" is already defined'),
        ("environment:\n  - PATH=/", 2, "environment[0]", "is not allowed: reserved for internal use"),
        ("environment:\n  - R8_X=1", 2, "environment[0]", "is not allowed: reserved for internal use"),
        ("environment:\n  - MODELYARD_X=1", 2, "environment[0]", "is not allowed: reserved for internal use"),
        (
            "environment:\n  - A=1\n  - MODELYARD_RUN_TIMEOUT=-1",
            3,
            "environment[1]",
            "MODELYARD_RUN_TIMEOUT is '-1'; wanted: seconds, such as 90 or 1.5, or 0 for no limit",
        ),
        ("environment:\n  - MODELYARD_RUN_TIMEOUT=soon", 2, "environment[0]", "is 'soon'; wanted: seconds"),
        ("environment:\n  - MODELYARD_RUN_TIMEOUT=", 2, "environment[0]", "is ''; wanted: seconds"),
        ("weights: a", 1, "weights", "must be a list, found text"),
    ],
)
def test_a_wrong_value_is_named_with_its_line_and_key(
    tmp_path: Path, text: str, line: int, key: str, reason: str
) -> None:
    found = problems(tmp_path, text)
    assert any((at, name) == (line, key) and reason in said for at, name, said in found), found


@pytest.mark.parametrize("lines", [("COG_SETUP_TIMEOUT=1", "MODELYARD_RUN_TIMEOUT=1.5"), ("COG_SETUP_TIMEOUT=0",)])
def test_a_model_may_say_how_long_it_may_take(tmp_path: Path, lines: tuple[str, ...]) -> None:
    found = load(tmp_path, "environment:\n" + "".join(f"  - {line}\n" for line in lines))
    assert (found.environment, found.warnings) == (lines, ())


@pytest.mark.parametrize("value", ["-1", "soon", ""])
def test_a_time_for_setup_that_cog_takes_for_none_is_warned_of(tmp_path: Path, value: str) -> None:
    found = load(tmp_path, f"environment:\n  - COG_SETUP_TIMEOUT={value}\n")
    assert found.environment == (f"COG_SETUP_TIMEOUT={value}",)
    assert found.warnings == (
        f"cog.yaml:2: COG_SETUP_TIMEOUT is {value!r}, which is no limit;"
        " wanted: seconds, such as 90 or 1.5, or 0 for no limit",
    )


@pytest.mark.parametrize(
    ("weight", "key", "reason"),
    [
        ("name: A", "name", "must be small letters and digits"),
        ("name: other", "name", "is already the name of another weight"),
        ("target: weights", "target", "must be an absolute path"),
        ("target: /", "target", "must not be the root folder"),
        ("target: /src/", "target", "would cover the project, which the model sees as /src"),
        ("target: /etc", "target", "would cover /etc, which belongs to the system"),
        ("target: //usr/lib/", "target", "would cover /usr/lib, which belongs to the system"),
        ("target: /tmp", "target", "would cover /tmp, which belongs to the system"),
        ("target: /w/other/in", "target", 'target overlaps with "/w/other"'),
        ("target: /w", "target", 'target overlaps with "/w/other"'),
        ("source: []", "source", "is required"),
        ("source: x", "source", "must be a mapping with a uri"),
        ("source: {include: [a]}", "source.uri", "is required"),
        ("source: {uri: 'ftp://x'}", "source.uri", "scheme 'ftp' is not known"),
        ("source: {uri: 'hf://org'}", "source.uri", "must be in the form hf://org/repo"),
        ("source: {uri: a, include: ['']}", "source.include[0]", "must not be empty"),
        ("source: {uri: a, exclude: ['!b']}", "source.exclude[0]", "must not begin with '!'"),
        ("source: {uri: a, exclude: ['b\\c']}", "source.exclude[0]", "must not contain a backslash"),
    ],
)
def test_a_wrong_weight_is_named(tmp_path: Path, weight: str, key: str, reason: str) -> None:
    parts = {"name": "mine", "target": "/w/mine", "source": "{uri: a}"}
    name, _, value = weight.partition(": ")
    parts[name] = value
    body = "".join(f"    {part}: {text}\n" for part, text in parts.items())
    text = "model: a/b\nweights:\n  - name: other\n    target: /w/other\n    source: {uri: b}\n  -\n" + body
    found = problems(tmp_path, text)
    assert [(name, said) for _, name, said in found if name == f"weights[1].{key}" and reason in said], found


def test_weights_need_a_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "image: a\nweights:\n  - {name: a, target: /a, source: {uri: b}}\n")
    assert "invalid weights: weights require 'model' in cog.yaml — rename 'image' to 'model'" in caught.value.detail
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "weights:\n  - {name: a, target: /a, source: {uri: b}}\n")
    assert "weights require 'model' in cog.yaml — rename 'image' to 'model'" in caught.value.detail
    assert caught.value.hint == "there is no `image` here: add `model: owner/name`"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("build: hello", 'cog.yaml:1: schema error in "build": must be a mapping, found text "hello"'),
        ("environment: [[A]]", 'cog.yaml:1: schema error in "environment[0]": must be text, found a list'),
        ("image: a\nweights: 3", 'cog.yaml:2: schema error in "weights": must be a list, found text "3"'),
        ("run: [", "cog.yaml:1: failed to parse cog.yaml: invalid YAML: "),
        (
            'build:\n  run:\n    - "a\\nb"',
            "One of the commands in 'run' contains a new line, which won't work.",
        ),
    ],
)
def test_what_scripts_look_for_is_a_part_of_what_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert said in caught.value.detail


GPU = "build:\n  gpu: true\n  python_version: '3.11'\n  python_requirements: r.txt\n"


@pytest.mark.parametrize(
    ("required", "asked", "line", "said"),
    [
        ("torch", "", 2, 'invalid build.gpu "true": torch version must be specified when using CUDA'),
        ("numpy\ntorch ; sys_platform == 'linux'", "  cuda: '12.4'\n", 2, "torch version must be specified"),
        (
            "tensorflow==2.15.0",
            "  cuda: '11.8'\n",
            5,
            'invalid build.cuda "11.8": TensorFlow 2.15.0 is incompatible with CUDA 11.8:'
            " TensorFlow 2.15.0 requires CUDA 12.2",
        ),
        (
            "tensorflow==2.12.0",
            "  cudnn: '9'\n",
            5,
            'invalid build.cudnn "9": the specified cuDNN version 9 is not compatible with tensorflow==2.12.0.',
        ),
    ],
)
def test_what_cannot_go_together_on_a_gpu_is_refused(
    tmp_path: Path, required: str, asked: str, line: int, said: str
) -> None:
    (tmp_path / "r.txt").write_text(required)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GPU + asked)
    assert f"cog.yaml:{line}: " in caught.value.detail
    assert said in caught.value.detail
    assert caught.value.hint
    # Without a GPU none of it matters.
    assert load(tmp_path, GPU.replace("true", "false") + asked).gpu is False


def test_the_label_has_the_cuda_that_the_requirements_lead_to(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("torch==2.5.1\n")
    found = load(tmp_path, GPU.replace("3.11", "3.11.4"))
    assert (found.cuda, found.cudnn, found.python_version) == ("12.4", "9", "3.11")
    label = found.to_json()["build"]
    assert (label["cuda"], label["cudnn"], label["python_version"]) == ("12.4", "9", "3.11.4")
    assert load(tmp_path, "build:\n  python_version: '3.11'\n").to_json() == {"build": {"python_version": "3.11"}}


def test_what_may_not_work_on_a_gpu_is_warned_of_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("torch==1.13.1\n")
    assert load(tmp_path, GPU + "  cuda: '12.4'\n").warnings == (
        "cog.yaml:2: torch 1.13.1 is made for Python 3.10; with 3.11 there may be no package of it",
        "cog.yaml:2: torch 1.13.1 is not built for CUDA 12.4, but for 11.6, 11.7; it may not work",
    )


def test_all_faults_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "run: x\nbuild:\n  gpu: maybe\n  cuda: 9.0\n")
    assert caught.value.detail.splitlines() == [
        "cog.yaml:1: invalid run \"x\": must be in the form 'run.py:Runner'",
        "  hint: name a file of the project, a colon, and a class or function",
        'cog.yaml:3: invalid build.gpu "maybe": must be true or false',
        'cog.yaml:4: invalid build.cuda "9.0": minimum supported CUDA version is 11',
    ]
    assert caught.value.status == 422


def test_only_one_way_to_name_packages(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("")
    found = problems(tmp_path, "build:\n  python_requirements: r.txt\n  python_packages: [a]\n")
    assert found == [
        (3, "build.python_packages", "only one of python_packages or python_requirements can be set, not both")
    ]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("predict: a.py:B", 'deprecated field "predict": use "run" instead'),
        ("build: {python_packages: [a]}", 'deprecated field "build.python_packages": use "build.python_requirements"'),
        ("build: {pre_install: [a]}", 'deprecated field "build.pre_install": use "build.run" instead'),
        ("build: {fast: false}", '"build.fast" has no effect any more; remove it'),
        ("tests: []", '"tests" has no effect any more'),
        ("biuld: {}", 'unknown key "biuld" is ignored; did you mean "build"?'),
        ("build: {pyhton_version: 3}", 'did you mean "build.python_version"?'),
        ("quux: 1", 'unknown key "quux" is ignored (known: build, image, model, run'),
    ],
)
def test_what_has_no_effect_or_a_better_name_gives_a_warning(tmp_path: Path, text: str, warning: str) -> None:
    (said,) = load(tmp_path, text).warnings
    assert said.startswith("cog.yaml:1: ")
    assert warning in said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"a: [", "cog.yaml:1: failed to parse cog.yaml: invalid YAML: "),
        (b"run: a.py:A\n\tgpu: x", "cog.yaml:2: failed to parse cog.yaml: invalid YAML: "),
        (b"run: a.py:A\nrun: b.py:B", "invalid YAML: the key 'run' is given twice"),
        (b"x\xff", "cog.yaml:1: failed to parse cog.yaml: invalid YAML: it is not UTF-8 text"),
        (b"- a", "cog.yaml:1: must be a mapping of keys, found a list"),
        (b"text", "cog.yaml:1: must be a mapping of keys, found text"),
        (b"a: 1\n---\nb: 2", "invalid YAML: "),
        (b"a: &a [*a]", "it is nested too deeply, or repeats itself too often"),
        (b"a: *b", "invalid YAML: "),
        (b"- " * 2000, "invalid YAML: "),
        (b"a: " + b"x" * 300_000, "at most 262144 are read"),
        (b"? [a]\n: b", "a key must be text"),
        (b"a: \x00", "invalid YAML: "),
    ],
)
def test_what_is_no_yaml_has_its_line(tmp_path: Path, text: bytes, reason: str) -> None:
    (tmp_path / "cog.yaml").write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path)
    assert reason in caught.value.detail


def test_anchors_that_multiply_are_stopped(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(ConfigError, match="repeats itself too often"):
        load(tmp_path, "\n".join(lines))


def test_merged_keys_are_read(tmp_path: Path) -> None:
    text = "x: &base {python_version: '3.11', gpu: true}\nbuild:\n  <<: *base\n  python_version: '3.12'\n"
    found = load(tmp_path, text)
    assert (found.python_version, found.gpu) == ("3.12", True)


def test_the_project_is_found_from_below(tmp_path: Path) -> None:
    deep = project(tmp_path, "run: a.py:A") / "a" / "b"
    deep.mkdir(parents=True)
    assert config.find(deep) == tmp_path
    assert config.find(tmp_path) == tmp_path


def test_no_project_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"cog\.yaml not found in {tmp_path} \(or in any parent directories\)") as e:
        config.find(tmp_path)
    assert e.value.hint
    with pytest.raises(ConfigError, match=r"cog\.yaml not found"):
        config.load(tmp_path)
    (tmp_path / "cog.yaml").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        config.load(tmp_path / "cog.yaml" / "..")


def test_a_named_file_is_found_from_below(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "other.yaml").touch()
    assert config.find_file(deep, "other.yaml") == tmp_path / "other.yaml"
    assert config.find_file(deep, str(tmp_path / "other.yaml")) == tmp_path / "other.yaml"
    (deep / "other.yaml").touch()
    assert config.find_file(deep, "other.yaml") == deep / "other.yaml"
    with pytest.raises(ConfigError, match=rf"no\.yaml not found in {deep} \(or in any parent directories\)"):
        config.find_file(deep, "no.yaml")
    with pytest.raises(ConfigError) as caught:
        config.find_file(deep, str(deep / "cog.yaml"))
    assert caught.value.detail == f"{deep / 'cog.yaml'} not found"
    assert "-f names the cog.yaml" in str(caught.value.hint)


def test_a_file_of_another_name_is_read_and_named(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("run: nothing")
    with pytest.raises(ConfigError, match=r"other\.yaml:1: invalid run"):
        config.load(other)


# The cache of the tree


def test_a_second_reading_does_not_need_the_yaml_library(tmp_path: Path) -> None:
    first = load(tmp_path, EVERYTHING.replace("requirements.txt", "cog.yaml"))
    kept = tmp_path / config.CACHE
    assert kept.is_file()
    assert config.load(tmp_path) == first
    changed = load(tmp_path, "run: a.py:A")
    assert changed.run == "a.py:A"


@pytest.mark.parametrize("content", [b"", b"{}", b"[", b'{"key": 1, "tree": 2}', b"\xff\x00"])
def test_a_broken_cache_is_made_again(tmp_path: Path, content: bytes) -> None:
    load(tmp_path, "run: a.py:A")
    (tmp_path / config.CACHE).write_bytes(content)
    assert config.load(tmp_path).run == "a.py:A"
    assert json.loads((tmp_path / config.CACHE).read_bytes())["tree"]


def test_a_project_that_cannot_be_written_to_is_read_all_the_same(tmp_path: Path) -> None:
    (tmp_path / ".cog").write_text("a file where a folder should be")
    assert load(tmp_path, "run: a.py:A").run == "a.py:A"


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("abrun:-[]{}&*!|>'\"% \n\t#~<,?0.py"), max_size=60))
def test_no_text_makes_it_crash(text: str) -> None:
    with contextlib.suppress(ConfigError):
        config.parse(text.encode(), root=Path("/nonexistent"))


@given(st.recursive(st.none() | st.text("ab:#", max_size=4), lambda inner: st.lists(inner, max_size=3)))
def test_a_tree_survives_the_cache(value: object) -> None:
    node = tree.parse(json.dumps({"a": value}).encode())
    assert tree._from_json(json.loads(json.dumps(tree._to_json(node)))) == node
