"""What joins a project's lock because Cog brought it along, read from the source."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.packaging import brought, config, environment
from modelyard.packaging.config_source.records import Command

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
OUTPUT = "class Output(BaseModel):\n    "


def project(folder: Path, sdk: str = "", **files: str) -> config.Config:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    version = f'  sdk_version: "{sdk}"\n' if sdk else ""
    (folder / "cog.yaml").write_text(f'build:\n  python_version: "{OWN}"\n{version}run: "run.py:Runner"\n')
    return config.load(folder)


def needs(folder: Path, sdk: str = "", listed: tuple[str, ...] = (), **files: str) -> tuple[str, ...]:
    return brought.packages(project(folder, sdk, **files), folder, listed)


@pytest.mark.parametrize(
    "body",
    [
        "from pydantic import Field\nfrom cog import BaseModel\n" + OUTPUT + "a: int = Field(ge=1)\n",
        "import pydantic as p\nimport cog\nclass Output(cog.BaseModel):\n    a: p.HttpUrl\n",
        "from cog import BaseModel\n" + OUTPUT + "class Config:\n        extra = 'forbid'\n",
        "from cog import BaseModel\n" + OUTPUT + "model_config = {}\n",
        "from cog import BaseModel as Base\nclass Output(Base, extra='forbid'):\n    a: int\n",
    ],
)
def test_a_model_that_uses_pydantic_brings_it(tmp_path: Path, body: str) -> None:
    assert needs(tmp_path, run=body) == ("pydantic>=1.9,<3",)


def test_a_model_that_does_not_brings_nothing(tmp_path: Path) -> None:
    assert needs(tmp_path, run="from cog import BaseModel\n" + OUTPUT + "a: int\n    def dict(self): ...\n") == ()


@pytest.mark.parametrize("line", ["import pkg.deep.part", "from pkg.deep import part", "from .pkg.deep.part import a"])
def test_the_files_of_packages_on_the_way_are_run_too(tmp_path: Path, line: str) -> None:
    part = {"run": line + "\n", "pkg__deep__part": "import requests\n"}
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("import yaml\n")
    assert needs(tmp_path, **part) == ("PyYAML", "requests")


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("0.8.6", ("pydantic>=1.9,<2",)),
        ("0.16.12", ("pydantic>=1.9,<3",)),
        ("0.17.0", ()),
        ("prerelease", ()),
    ],
)
def test_an_older_cog_has_pydantics_models(tmp_path: Path, version: str, wanted: tuple[str, ...]) -> None:
    found = project(tmp_path, version, run="from cog import BaseModel\n" + OUTPUT + "a: int\n")
    assert brought.packages(found, tmp_path, ()) == wanted
    assert brought.environment(found) == (("MODELYARD_PYDANTIC=1",) if wanted else ())


def test_an_older_cog_without_models_needs_no_pydantic(tmp_path: Path) -> None:
    assert needs(tmp_path, "0.9.0", run="from cog import Path\n") == ()


def test_what_the_author_lists_is_left_as_it_is(tmp_path: Path) -> None:
    text = "import yaml, requests\nfrom pydantic import Field\n"
    assert needs(tmp_path, listed=("pyyaml==6.0", "pydantic[email] < 2", "Requests"), run=text) == ()


def test_other_packages_that_cog_brings_are_found_in_every_file_that_is_imported(tmp_path: Path) -> None:
    found = needs(
        tmp_path,
        run="import helper.deep as h, os\nfrom lib import (  # ours\n    one,\n    two as three,\n)\n",
        helper____init__="",
        helper__deep="from . import near\n",
        helper__near="import requests.adapters\n",
        lib__one="from typing_extensions import NotRequired\n",
        lib__two="import structlog\n",
        unused="import yaml\n",
    )
    assert found == ("requests", "structlog", "typing-extensions")


def test_a_module_of_the_projects_own_is_no_package(tmp_path: Path) -> None:
    assert needs(tmp_path, run="import requests\n", requests="") == ()


def test_files_that_are_no_python_or_import_each_other_do_no_harm(tmp_path: Path) -> None:
    files = {"run": "import a\n", "a": "import run\nfrom ... import x\nBaseModel cog =\n"}
    assert needs(tmp_path, **files) == ()


def test_the_lock_has_what_cog_brought(tmp_path: Path) -> None:
    found = project(tmp_path, run="from cog import BaseModel\nimport yaml\n" + OUTPUT + "class Config: ...\n")
    lines: list[str] = []
    lock = environment.resolve(found, tmp_path, OWN, environ=dict(os.environ), report=lines.append)
    assert "\npydantic==" in lock.text
    assert "pyyaml==" in lock.text
    assert "Not in the requirements, but used, and brought along by Cog: PyYAML, pydantic>=1.9,<3" in lines


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("import pkg_resources", ("setuptools<81",)),
        ("from setuptools import find_packages", ("setuptools<81",)),
        ("import pip", ("pip",)),
        ('subprocess.run([sys.executable, "-m", "pip", "install", "six"])', ("pip",)),
        ("subprocess.check_call(['pip', 'install', 'six'])", ("pip",)),
        ("os.system('pip install six')", ("pip",)),
        ('os.system("python -m pip install six")', ("pip",)),
        ('x = "pipeline"', ()),
        ("# pip install six", ()),
        ('print("a pip of six")', ()),
    ],
)
def test_what_the_python_of_cogs_images_has_is_brought_where_it_is_used(
    tmp_path: Path, line: str, wanted: tuple[str, ...]
) -> None:
    assert needs(tmp_path, run=f"{line}\n") == wanted


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("pip install six", ("pip",)),
        ("cd /tmp && python -m pip install six", ("pip",)),
        ("/usr/bin/pip3 install six", ("pip",)),
        ("apt-get install pipx", ()),
        ("echo pip", ()),
    ],
)
def test_a_command_of_the_build_that_calls_pip_brings_it(tmp_path: Path, command: str, wanted: tuple[str, ...]) -> None:
    found = project(tmp_path, run="def Runner(n: int) -> int:\n    return n\n")
    found = replace(found, commands=(Command(command=command),))
    assert brought.packages(found, tmp_path, ()) == wanted


def test_a_listed_setuptools_is_the_authors(tmp_path: Path) -> None:
    assert needs(tmp_path, listed=("setuptools==70.0.0",), run="import pkg_resources\n") == ()
