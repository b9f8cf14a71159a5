"""The playground in a browser: a form that runs the model, files, errors beside their fields."""

from __future__ import annotations

from collections.abc import Iterator

import playground_process
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import WIDE, Visit

MODEL = """
import base64
import time

from cog import BaseRunner, Input, Path

PICTURE = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


class Runner(BaseRunner):
    def run(self, word: str = Input(max_length=5), file: Path = Input(default=None)) -> list[Path]:
        print("a line of its log")
        if word == "fails":
            raise ValueError("as was asked")
        while word == "waits":
            time.sleep(0.01)
        size = 0 if file is None else len(file.read_bytes())
        Path("picture.gif").write_bytes(PICTURE)
        Path("size.txt").write_text(f"{word} {size}")
        return [Path("picture.gif"), Path("size.txt")]
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a served model."""
    folder = tmp_path_factory.mktemp("playground")
    (folder / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (folder / "run.py").write_text(MODEL)
    with playground_process.serving(folder, tmp_path_factory.mktemp("home")) as (_, page):
        yield page


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    visit = Visit(chromium.new_context(viewport=WIDE), address)
    visit.page.goto(address)
    yield visit.page
    assert not [one for one in visit.wrong if "422" not in one]
    visit.context.close()


def test_a_run_shows_files_log_and_the_whole_reply(page: Page) -> None:
    page.locator("#in-word").fill("hello")
    page.locator("[data-file]").set_input_files({"name": "a.bin", "mimeType": "x/y", "buffer": b"12345"})
    expect(page.locator("[data-progress]")).to_have_text("a.bin, 5 B")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("[data-status]")).to_contain_text("succeeded")
    expect(page.get_by_alt_text("The output of the model")).to_have_js_property("naturalWidth", 1)
    link = page.get_by_role("link", name="Save the file")
    assert (link.get_attribute("href") or "").startswith("data:text/plain;base64,aGVsbG8gNQ")  # hello 5
    page.get_by_text("Logs", exact=True).click()
    expect(page.locator("[data-logs]")).to_contain_text("a line of its log")


def test_what_is_wrong_stands_beside_its_field_and_failures_above_the_output(page: Page) -> None:
    page.get_by_role("button", name="Run").click()
    expect(page.locator('[data-field="word"] [data-wrong]')).to_be_visible()
    page.locator("#in-word").fill("fails")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("[data-status]")).to_contain_text("failed")
    expect(page.locator("[data-output]")).to_contain_text("as was asked")


def test_a_run_can_be_canceled(page: Page) -> None:
    page.locator("#in-word").fill("waits")
    page.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("[data-status]")).to_contain_text("canceled")
    expect(page.get_by_role("button", name="Run")).to_be_visible()


def test_nothing_sticks_out_of_a_narrow_page(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
