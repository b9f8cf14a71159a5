"""The tables of torch, TensorFlow, CUDA and cuDNN: what is in them, and what they decide."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from modelyard.packaging.compatibility import images, resolution, tables, wheels
from modelyard.packaging.compatibility.resolution import Choice, IncompatibleError, choose
from modelyard.packaging.compatibility.tables import numbers
from modelyard.packaging.doctor import case, machine_checks
from modelyard.packaging.doctor.machine import Machine


def test_every_table_has_its_source_and_its_date_and_is_in_order() -> None:
    for name in tables.FILES:
        text = (Path(tables.__file__).parent / name).read_text()
        assert re.search(r'"source": "[^"]{20,}"', text), name
        assert re.search(r'"date": "\d{4}-\d\d-\d\d"', text), name
    assert tables.made() <= date.today()
    for names in (
        [row.torch for row in tables.torch()],
        [row.tensorflow for row in tables.tensorflow()],
        [row.cuda for row in tables.cuda()],
    ):
        versions = [numbers(name) for name in names]
        assert versions == sorted(set(versions))


def test_the_rows_are_whole() -> None:
    for row in tables.torch():
        assert [numbers(each) for each in row.cuda] == sorted(numbers(each) for each in row.cuda)
        assert numbers(row.python[0]) <= numbers(row.python[1])
        assert numbers(row.torchaudio)[:1] in {(0,), numbers(row.torch)[:1]}
    majors = {numbers(row.cuda)[0] for row in tables.cuda()}
    # A CUDA that torch is built for has images, from the first on that Cog's users may ask for.
    assert {numbers(each)[0] for row in tables.torch() for each in row.cuda} - {10} <= majors
    assert {numbers(row.cuda)[0] for row in tables.tensorflow()} <= majors


@pytest.mark.parametrize(
    ("packages", "asked", "choice"),
    [
        ([], {}, ("11.8", "8")),
        (["numpy==2.0"], {"cuda": "12.6"}, ("12.6", "9")),
        (["torch==2.0.1"], {}, ("11.8", "8")),
        (["torch==2.5.1", "torchvision==0.20.1"], {}, ("12.4", "9")),
        (["torch==2.5.1+cu121"], {"cuda": "12.1"}, ("12.1", "8")),
        (["torch==2.5.1"], {"cuda": "11.8.0", "cudnn": "8"}, ("11.8.0", "8")),
        (["Torch [opt] == 2.6.0 ; sys_platform == 'linux'"], {}, ("12.6", "9")),
        (["torch==2.99.0"], {}, ("13.0", "9")),
        (["torch==1.1.0"], {}, ("11.8", "8")),
        (["torch>=2"], {}, ("11.8", "8")),
        (["torch @ https://example.org/torch.whl"], {}, ("11.8", "8")),
        (["torchvision"], {}, ("11.8", "8")),
        (["tensorflow==2.15.1"], {}, ("12.2", "8")),
        (["tensorflow==2.18.0", "torch==2.5.1"], {}, ("12.5", "9")),
        (["tensorflow==1.15"], {}, ("11.8", "8")),
    ],
)
def test_what_is_required_decides_where_nothing_is_asked_for(
    packages: list[str], asked: dict[str, str], choice: tuple[str, str]
) -> None:
    assert choose(packages, python="3.11", **asked) == Choice(cuda=choice[0], cudnn=choice[1])


def test_another_minor_of_cuda_than_tensorflows_is_warned_of() -> None:
    found = choose(["tensorflow==2.15.0"], python="3.11", cuda="12.4")
    assert (found.cuda, found.cudnn) == ("12.4", "8")
    assert found.warnings == ("TensorFlow 2.15.0 is built for CUDA 12.2; with 12.4 it may not work",)


def test_torch_without_a_version_is_told_with_the_newest_one() -> None:
    with pytest.raises(IncompatibleError, match="torch version must be specified when using CUDA") as caught:
        choose(["torch[opt]"], python="3.11")
    assert f"torch=={tables.torch()[-1].torch}" in caught.value.hint


def test_a_later_torch_is_taken_for_the_newest_one_before_it() -> None:
    row = resolution.torch_row("2.5.7")
    assert row is not None
    assert row.torch == "2.5.1"


@pytest.mark.parametrize(
    ("told", "packages", "gpu", "cuda", "builds"),
    [
        ("auto", ["torch==2.5.1"], False, None, "cpu"),
        ("auto", ["torchvision"], False, None, "cpu"),
        ("auto", ["torch==2.5.1"], True, "12.4", "cu124"),
        ("auto", ["torch==2.5.1"], True, "12.3.2", "cu121"),
        ("auto", ["torch==2.8.0"], True, "11.8", "cu126"),
        ("auto", ["torch>=2"], True, "12.1", "cu121"),
        ("cu118", ["torch==2.5.1"], False, None, "cu118"),
    ],
)
def test_who_asks_gets_the_builds_of_torch_that_the_project_needs(
    told: str, packages: list[str], gpu: bool, cuda: str | None, builds: str
) -> None:
    assert wheels.backend(told, packages, gpu=gpu, cuda=cuda) == builds


def test_the_index_of_the_builds_is_a_line_of_a_lock() -> None:
    assert wheels.options("cpu", "numpy==1\ntorch==2.5.1+cpu\n") == [f"--extra-index-url {tables.torch_index()}cpu/"]
    assert wheels.options("cpu", "numpy==1 ; x\n") == []
    assert tables.torch_index().endswith("/")


@pytest.mark.parametrize(("days", "told"), [(0, False), (machine_checks.OLD_DAYS + 1, True)])
def test_doctor_says_when_the_tables_are_old(tmp_path: Path, days: int, told: bool) -> None:
    (tmp_path / "cog.yaml").write_text("build:\n  gpu: true\n  python_version: '3.11'\n")
    today = date.fromordinal(tables.made().toordinal() + days)
    found = machine_checks.gpu(case.read(tmp_path / "cog.yaml", Machine(gpus=(), today=today)))
    assert [finding.severity for finding in found or []] == ["info"] * told
    assert all(str(tables.made()) in finding.message for finding in found or [])


@pytest.mark.parametrize(
    ("cuda", "cudnn", "python", "tag", "has_python"),
    [
        ("11.8", "8", "3.10", "11.8.0-cudnn8-devel-ubuntu22.04", True),
        ("12.3", "9", "3.11", "12.3.2-cudnn9-devel-ubuntu22.04", True),
        ("12.4", "9", "3.12", "12.4.1-cudnn-devel-ubuntu22.04", False),
        # The newest patch, and the newest Ubuntu that has the Python.
        ("12.6", "9", "3.12", "12.6.3-cudnn-devel-ubuntu24.04", True),
        ("12.6.1", "9", "3.12", "12.6.1-cudnn-devel-ubuntu24.04", True),
        ("12.6", "9", "3.10", "12.6.3-cudnn-devel-ubuntu22.04", True),
        ("13.0", "9", "3.13", "13.0.3-cudnn-devel-ubuntu24.04", False),
        ("11.0", "8.0", "3.10", "11.0.3-cudnn8-devel-ubuntu20.04", False),
    ],
)
def test_the_image_with_cuda_is_chosen_by_the_table(
    cuda: str, cudnn: str, python: str, tag: str, has_python: bool
) -> None:
    assert images.choose(cuda, cudnn, python, compiles=True) == images.CudaImage(tag, has_python)
    smaller = images.CudaImage(tag.replace("devel", "runtime"), has_python)
    assert images.choose(cuda, cudnn, python, compiles=False) == smaller


def test_there_is_no_image_for_what_the_table_does_not_have() -> None:
    for cuda, cudnn in (("12.7", "9"), ("12.6", "8"), ("12.6.9", "9")):
        assert images.choose(cuda, cudnn, "3.12", compiles=True) is None
