"""Environments for an image: wheels for its Python and platform, whatever runs here, and nothing of this machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from modelyard.packaging.recipe import architecture_of
from modelyard.store import trees
from modelyard.store.environments import Lock
from modelyard.store.trees import NoWheelError, Target

ARCHITECTURE = architecture_of(platform.machine())
OTHER = "arm64" if ARCHITECTURE == "amd64" else "amd64"


def make(
    folder: Path, *requirements: str, minor: str = "3.12", machine: str = "", base: Path | None = None
) -> list[str]:
    target = Target(python=f"/usr/bin/python{minor}", minor=minor, architecture=machine or ARCHITECTURE)
    lock = Lock(text="".join(f"{line}\n" for line in requirements), python=minor)
    environ = dict(os.environ)
    return list(trees.make(lock, target, folder, machine=platform.machine(), environ=environ, base=base))


def wheel(folder: Path, tag: str = "py3-none-any", name: str = "mine") -> Path:
    """A wheel with a module and a script."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-{tag}.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "def main():\n    print('mine')\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name.title()}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name} = {name}:main\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def shape(folder: Path) -> dict[str, bytes | str]:
    """Every file and link of a folder."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize("minor", ["3.10", "3.12", "3.13"])
def test_the_wheels_are_for_the_python_of_the_image(tmp_path: Path, minor: str) -> None:
    assert make(tmp_path / "tree", "markupsafe==3.0.2", minor=minor) == ["MarkupSafe==3.0.2"]
    found = list((tmp_path / "tree").rglob("*.so"))
    assert [path.name.split("-")[1] for path in found] == [minor.replace(".", "")]
    assert found[0].is_relative_to(tmp_path / "tree" / "lib" / f"python{minor}" / "site-packages")
    links = {path.name: str(path.readlink()) for path in (tmp_path / "tree" / "bin").glob("python*")}
    assert links == {"python": f"/usr/bin/python{minor}", "python3": "python", f"python{minor}": "python"}
    assert "home = /usr/bin\n" in (tmp_path / "tree" / "pyvenv.cfg").read_text()


def test_and_for_its_kind_of_machine(tmp_path: Path) -> None:
    make(tmp_path / "tree", "markupsafe==3.0.2", machine=OTHER)
    (found,) = (tmp_path / "tree").rglob("*.so")
    assert {"arm64": "aarch64", "amd64": "x86_64"}[OTHER] in found.name


def test_a_package_without_a_wheel_for_another_machine_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoWheelError, match=rf"antlr4-python3-runtime==4.9.3 has no wheel for .* on linux/{OTHER}"):
        make(tmp_path / "tree", "antlr4-python3-runtime==4.9.3", machine=OTHER)


def test_a_wheel_of_another_platform_is_named(tmp_path: Path) -> None:
    path = wheel(tmp_path / "wheels", "cp39-cp39-win_amd64")
    with pytest.raises(Exception, match="mine"):
        make(tmp_path / "tree", f"./{path.relative_to(tmp_path)}", base=tmp_path)


def test_nothing_in_it_says_where_and_when_it_was_made(tmp_path: Path) -> None:
    shapes = []
    for name in ("one", "two"):
        path = wheel(tmp_path / name / "wheels")
        os.utime(path, (len(shapes), 1))
        assert make(tmp_path / name / "tree", "./wheels/" + path.name, base=tmp_path / name) == ["Mine==1.0"]
        shapes.append(shape(tmp_path / name / "tree"))
    assert shapes[0] == shapes[1]
    assert not [name for name, data in shapes[0].items() if isinstance(data, bytes) and str(tmp_path).encode() in data]
    assert not [name for name in shapes[0] if name.endswith((".pyc", "direct_url.json", "uv_cache.json"))]


def test_scripts_run_wherever_the_tree_is_put(tmp_path: Path) -> None:
    own = f"3.{platform.python_version_tuple()[1]}"
    wheel(tmp_path / "wheels")
    make(tmp_path / "tree", "./wheels/mine-1.0-py3-none-any.whl", minor=own, base=tmp_path)
    moved = tmp_path / "elsewhere"
    shutil.move(tmp_path / "tree", moved)
    (moved / "bin" / "python").unlink()
    (moved / "bin" / "python").symlink_to(trees.pythons.own().path)
    done = subprocess.run([moved / "bin" / "mine"], capture_output=True, text=True, check=False)
    assert done.stdout == "mine\n", done.stderr


def test_an_environment_of_nothing_is_one(tmp_path: Path) -> None:
    assert make(tmp_path / "tree") == []
    assert sorted(path.name for path in (tmp_path / "tree").iterdir()) == ["bin", "lib", "lib64", "pyvenv.cfg"]
