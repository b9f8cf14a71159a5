"""The example models: each is what its README says, and answers on its own sample files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageStat

from modelyard.packaging import config, schema

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/cog.yaml"))
BENCH_MODELS = sorted(path.parent for path in (ROOT / "bench" / "models").glob("*/cog.yaml"))
YARD = str(Path(sys.executable).with_name("yard"))


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`yard run` in the folder of an example, with the user's own caches: its packages are large."""
    return subprocess.run(
        [YARD, "run", *arguments],
        cwd=ROOT / "examples" / name,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=115,
        check=False,
    )


@pytest.mark.parametrize("folder", EXAMPLES + BENCH_MODELS, ids=lambda folder: folder.name)
def test_a_model_loads_without_a_warning_and_has_a_schema(folder: Path) -> None:
    found = config.load(folder)
    assert found.warnings == ()
    inputs = schema.read(folder, found.run)["components"]["schemas"]["Input"]["properties"]
    assert all(each.get("description") for each in inputs.values())


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_the_readme_names_every_input_and_no_other(folder: Path) -> None:
    page = (folder / "README.md").read_text()
    table = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert table == list(schema.read(folder, "run.py:Runner")["components"]["schemas"]["Input"]["properties"])


def test_hello_world_greets() -> None:
    assert run("hello-world", "-i", "text=world").stdout == "hello world\n"


@pytest.mark.parametrize(
    ("arguments", "form"),
    [
        (["-i", "width=320"], ("JPEG", 320)),
        (["-i", "effect=blur", "-i", "amount=8", "-i", "output_format=webp"], ("WEBP", 1280)),
        (["-i", "effect=sharpen", "-i", "width=100", "-i", "output_format=png"], ("PNG", 100)),
        (["-i", "effect=edges", "-i", "width=640"], ("JPEG", 640)),
    ],
)
def test_photo_gives_a_picture_of_the_wanted_form(arguments: list[str], form: tuple[str, int], tmp_path: Path) -> None:
    done = run("photo", "-i", "image=@samples/lake.jpg", *arguments, "-o", str(tmp_path / "result.bin"))
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "result.bin") as picture:
        assert (picture.format, picture.width) == form
        assert picture.height == pytest.approx(picture.width * 853 / 1280, abs=1)


def test_photo_does_what_its_effects_say(tmp_path: Path) -> None:
    contrasts = {}
    for effect in ("none", "blur", "edges"):
        target = tmp_path / f"{effect}.png"
        run("photo", "-i", "image=@samples/lake.jpg", "-i", f"effect={effect}", "-i", "amount=6", "-i", "width=400",
            "-i", "output_format=png", "-o", str(target))  # fmt: skip
        with Image.open(target) as picture:
            grey = picture.convert("L")
            contrasts[effect] = (ImageStat.Stat(grey).mean[0], roughness(grey))
    assert contrasts["blur"][1] < contrasts["none"][1] / 1.5
    assert contrasts["edges"][0] > 180  # mostly paper
    assert contrasts["blur"][0] == pytest.approx(contrasts["none"][0], abs=3)


def roughness(picture: Image.Image) -> float:
    """How much neighbouring pixels differ."""
    small = picture.resize((picture.width // 2, picture.height // 2)).resize(picture.size)
    pairs = zip(picture.tobytes(), small.tobytes(), strict=True)
    return sum(abs(first - second) for first, second in pairs) / (picture.width * picture.height)


def test_photo_refuses_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "words.jpg").write_text("no picture")
    done = run("photo", "-i", f"image=@{tmp_path / 'words.jpg'}", "-o", str(tmp_path / "x.jpg"))
    assert done.returncode == 1
    assert "image is no picture that can be read" in done.stderr


def test_read_text_reads_several_pictures_at_once(tmp_path: Path) -> None:
    names = ("page", "receipt", "sign")
    arguments = [part for name in names for part in ("-i", f"images=@samples/{name}.jpg")]
    done = run("read-text", *arguments, "--json", "-o", str(tmp_path / "read.json"))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "read.json").read_text())
    page, receipt, sign = found["output"]
    assert page["text"].startswith("The lighthouse keeper\nEvery evening at six the keeper climbed the\n")
    assert "TOTAL EUR  12.00" in receipt["text"].splitlines()
    assert "Apple cake  4.20" in receipt["text"].splitlines()
    assert sign["text"].splitlines()[0] == "Harbour"
    lines: list[dict[str, Any]] = [line for each in found["output"] for line in each["lines"]]
    assert found["metrics"]["lines"] == len(lines)
    assert found["metrics"]["characters"] == sum(len(each["text"]) for each in found["output"])
    assert all(line["confidence"] >= 0.5 and len(line["box"]) == 4 for line in lines)
    with Image.open(tmp_path / "read.1.marked.png") as picture:
        assert picture.size == (640, 780)
