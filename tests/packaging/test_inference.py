"""What a model's text does not say, asked of a real process that imports it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from modelyard.packaging import box, schema
from modelyard.packaging.inference import Inferred, Question, infer
from modelyard.packaging.schema import Mode, SchemaError, Traits

HEAD = "from cog import BaseModel, BaseRunner, Input, Path, concurrent\n"
UNCLEAR = SchemaError("it is unclear", file="run.py", line=7, hint="write the value itself")


def ask(
    root: Path,
    text: str,
    *,
    ref: str = "run.py:Runner",
    mode: Mode = "predict",
    train: str | None = None,
    seconds: float = 60,
    **variables: str,
) -> Inferred:
    (root / "run.py").write_text(HEAD + text)
    environment = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(box.paths()), **variables}
    question = Question(root=root, ref=ref, mode=mode, train=train)
    return infer(question, UNCLEAR, Path(sys.executable), environment, seconds=seconds)


def refusal(root: Path, text: str, *, seconds: float = 60) -> SchemaError:
    with pytest.raises(SchemaError) as caught:
        ask(root, text, seconds=seconds)
    return caught.value


RUNNER = "class Runner(BaseRunner):\n    def run(self, a: str = Input(default='b', choices=[*{0}])) -> str: ...\n"


def test_what_importing_tells_is_what_the_text_would_have_told(tmp_path: Path) -> None:
    found = ask(tmp_path, "def letters(): return 'abc'\n\n" + RUNNER.replace("{0}", "letters()"))
    (tmp_path / "run.py").write_text(HEAD + RUNNER.replace("{0}", "'abc'"))
    assert found.document == schema.read(tmp_path, "run.py:Runner")
    assert found.traits == schema.read_traits(tmp_path, "run.py:Runner")


def test_of_a_batch_importing_tells_what_the_text_would_have_told(tmp_path: Path) -> None:
    text = "import cog\n\n\ndef letters(): return 'abc'\n\n\nclass Runner:\n    @cog.batch(max_size=3)\n"
    text += "    def run(self, a: list[str] = Input(default='b', choices=[*{0}])) -> list[str | Exception]: ...\n"
    found = ask(tmp_path, text.replace("{0}", "letters()"))
    (tmp_path / "run.py").write_text(HEAD + text.replace("{0}", "'abc'"))
    assert found.document == schema.read(tmp_path, "run.py:Runner")
    assert found.document["x-modelyard-batch"] == {"max_size": 3, "max_wait_ms": 10}
    assert found.traits == schema.read_traits(tmp_path, "run.py:Runner")
    assert (found.traits.batched, found.traits.concurrency) == (True, 6)


def test_a_training_is_imported_too(tmp_path: Path) -> None:
    text = "def size(): return 3\n\n\ndef Runner(a: int = size()) -> str: ...\n"
    text += "\n\ndef learn(n: int = size()) -> Path: ...\n"
    both = ask(tmp_path, text, train="run.py:learn").document["components"]["schemas"]
    assert both["Input"]["properties"]["a"]["default"] == both["TrainingInput"]["properties"]["n"]["default"] == 3
    alone = ask(tmp_path, text, ref="run.py:learn", mode="train")
    assert "Input" not in alone.document["components"]["schemas"]
    assert alone.traits.method == "learn"


def test_how_it_may_be_called_is_told(tmp_path: Path) -> None:
    text = "def made():\n    class Predictor:\n        @concurrent(max=4)\n"
    text += "        async def predict(self, a: int) -> str: ...\n    return Predictor\n\n\nRunner = made()\n"
    found = ask(tmp_path, text).traits
    assert found == Traits(
        method="predict", owner="Predictor", concurrency=4, streaming=False, is_async=True, batched=False, train=False
    )


def test_its_variables_and_files_are_there_and_standard_input_is_empty(tmp_path: Path) -> None:
    (tmp_path / "sizes.txt").write_text("s l")
    text = (
        "import os, sys\nSIZES = [*open('sizes.txt').read().split(), os.environ['MORE'], sys.stdin.read() or 'none']\n"
        "print('a' * 1_000_000)\n\n\ndef Runner(a: str = Input(choices=SIZES)) -> str: ...\n"
    )
    assert ask(tmp_path, text, MORE="xl").document["components"]["schemas"]["a"]["enum"] == ["s", "l", "xl", "none"]


def test_setup_is_not_called(tmp_path: Path) -> None:
    text = (
        "import pathlib\n\n" + RUNNER.replace("{0}", "'ab'") + "    def setup(self): pathlib.Path('called').touch()\n"
    )
    ask(tmp_path, text)
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nowhere_to_be_found\n", "ModuleNotFoundError: No module named 'nowhere_to_be_found' (run.py:2)"),
        ("\n\n1 / 0\n", "ZeroDivisionError: division by zero (run.py:4)"),
        ("import sys; sys.exit('no weights')\n", "SystemExit: no weights (run.py:2)"),
        ("import os; print('last words', flush=True); os._exit(7)\n", "its process ended with status 7: last words"),
        ("class Runner:\n    def __init__(self): raise OSError('no GPU')\n", "OSError: no GPU (run.py:3)"),
    ],
)
def test_what_the_models_own_code_raises_is_said_beside_what_was_unclear(tmp_path: Path, text: str, said: str) -> None:
    error = refusal(tmp_path, text)
    assert error.detail == f"run.py:7: it is unclear; importing the model in its environment failed too: {said}"


def test_what_has_no_schema_is_refused_as_in_a_text(tmp_path: Path) -> None:
    text = "SIZES = list('ab')\n\ndef Runner(a: str = Input(default='c', choices=SIZES)) -> str: ...\n"
    error = refusal(tmp_path, text)
    assert error.detail.startswith("run.py: Model schema is invalid: input 'a': default 'c' is not one of the choices")
    assert "Runner not found in run.py" in refusal(tmp_path, "").detail


def test_importing_has_a_limit_and_takes_what_it_started_with_it(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3); open(\"alive\", \"w\")'])\n"
        "time.sleep(600)\n"
    )
    assert "it was not done after 1 seconds" in refusal(tmp_path, text, seconds=1).detail
    time.sleep(2.5)
    assert not (tmp_path / "alive").exists()


def test_threads_and_programs_that_importing_starts_do_not_hold_it_up(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys, threading, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
    )
    assert ask(tmp_path, text + RUNNER.replace("{0}", "'ab'"), seconds=30).document
