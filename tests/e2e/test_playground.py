"""The playground in a browser: a form that runs the model, what comes of it and when, errors beside their fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import playground_process
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import NARROW, WIDE, Visit

PICTURE = 'base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")'

PLAIN = f"""
import base64
import time

from cog import BaseModel, BaseRunner, Input, Path

PICTURE = {PICTURE}


class Output(BaseModel):
    thumbnail: Path
    pages: list[Path]
    labels: list[str]


class Runner(BaseRunner):
    def run(
        self,
        word: str = Input(max_length=5),
        file: Path = Input(default=None),
        names: list[str] = Input(default=["one"]),
    ) -> Output:
        print("a line of its log")
        if word == "fails":
            raise ValueError("as was asked")
        while word == "waits":
            time.sleep(0.01)
        size = 0 if file is None else len(file.read_bytes())
        Path("picture.gif").write_bytes(PICTURE)
        Path("size.txt").write_text(f"{{word}} {{size}}")
        return Output(thumbnail=Path("picture.gif"), pages=[Path("size.txt")], labels=names)
"""

STREAMS = f"""
import base64
import pathlib
import time

from cog import BaseRunner, {{kind}}, Input, Path, current_scope, streaming

PICTURE = {PICTURE}


class Runner(BaseRunner):
    def setup(self) -> None:
        while not pathlib.Path("go").exists():
            time.sleep(0.01)

    @streaming
    def run(self, word: str) -> {{kind}}[{{item}}]:
        print("a line of its log")
        current_scope().record_metric("pieces", 1)
        yield {{piece}}
        if word == "fails":
            raise ValueError("as was asked")
        while not pathlib.Path(word).exists():
            time.sleep(0.01)
        print("its last line")
        yield {{piece}}
"""

Open = Callable[[str], Page]


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    """Opens a page of a playground; what it complains of fails the test."""
    made: list[Visit] = []

    def make(address: str) -> Page:
        made.append(Visit(chromium.new_context(viewport=WIDE), address))
        return made[-1].go("/")

    yield make
    for visit in made:
        # What a server answers to a page or to a run is not the page's fault.
        assert not [one for one in visit.wrong if "422" not in one and "503" not in one]
        visit.context.close()


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def project(folder: Path, source: str) -> Path:
    (folder / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (folder / "run.py").write_text(source)
    return folder


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a model that gives its output at the end."""
    folder = project(tmp_path_factory.mktemp("playground"), PLAIN)
    with playground_process.serving(folder, tmp_path_factory.mktemp("home")) as (_, page):
        yield page


@pytest.fixture
def page(open_page: Open, address: str) -> Page:
    return open_page(address)


def run(page: Page, word: str) -> None:
    page.locator("#in-word").fill(word)
    page.get_by_role("button", name="Run").click()


def test_a_run_shows_files_inside_of_an_object_log_and_the_whole_reply(page: Page) -> None:
    page.locator("[data-file]").set_input_files({"name": "a.bin", "mimeType": "x/y", "buffer": b"12345"})
    expect(page.locator("[data-progress]")).to_have_text("a.bin, 5 B")
    run(page, "hello")
    expect(page.locator("[data-status]")).to_have_text("succeeded")
    expect(page.get_by_alt_text("thumbnail")).to_have_js_property("naturalWidth", 1)
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the file").click()
    assert saved.value.path().read_text() == "hello 5"
    assert saved.value.suggested_filename == "pages-0.txt"
    page.get_by_text("Logs", exact=True).click()
    expect(page.locator("[data-logs]")).to_contain_text("a line of its log")
    page.get_by_text("The whole reply").click()
    expect(page.locator("[data-reply]")).to_contain_text('"status": "succeeded"')
    expect(page.locator("[data-metrics]")).to_contain_text("predict_time")


def test_a_chosen_file_is_a_name_and_a_size_until_it_is_set_back(page: Page) -> None:
    control = page.locator("[data-address]")
    page.locator("[data-file]").set_input_files({"name": "a.bin", "mimeType": "x/y", "buffer": b"12345"})
    expect(page.locator("[data-progress]")).to_have_text("a.bin, 5 B")
    expect(control).to_be_hidden()
    expect(control).to_have_value("")
    page.get_by_role("button", name="Set file back").click()
    expect(control).to_be_visible()
    expect(page.locator("[data-progress]")).to_have_text("")
    run(page, "hello")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the file").click()
    assert saved.value.path().read_text() == "hello 0"


def test_rows_of_a_list_that_were_left_blank_are_left_out(page: Page) -> None:
    for text in ("", "two", ""):
        page.get_by_role("button", name="Add one").click()
        page.locator("[data-entry] textarea").last.fill(text)
    run(page, "hello")
    page.get_by_text("The whole reply").click()
    expect(page.locator("[data-reply]")).to_contain_text(re.compile(r'"labels": \[\s*"one",\s*"two"\s*\]'))
    expect(page.locator("dd", has_text="two").locator(".prose")).to_have_text(["one", "two"])


def test_what_is_wrong_stands_beside_its_field_and_failures_above_the_output(page: Page) -> None:
    page.get_by_role("button", name="Run").click()
    expect(page.locator('[data-field="word"] [data-wrong]')).to_be_visible()
    run(page, "fails")
    expect(page.locator("[data-status]")).to_have_text("failed")
    expect(page.locator("[data-failure]")).to_contain_text("as was asked")
    expect(page.locator("[data-logs]")).to_contain_text("a line of its log")


def test_a_run_says_that_its_output_comes_at_the_end_and_can_be_canceled(page: Page) -> None:
    run(page, "waits")
    expect(page.locator("[data-output]")).to_have_text("Running…, the output comes at the end.")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("[data-status]")).to_have_text("canceled")
    expect(page.locator("[data-logs]")).to_have_text("a line of its log\n")
    expect(page.get_by_role("button", name="Run")).to_be_enabled()
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()


def test_nothing_sticks_out_of_a_narrow_page(page: Page) -> None:
    page.set_viewport_size(NARROW)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    run(page, "hello")
    expect(page.locator("[data-status]")).to_have_text("succeeded")
    expect(page.locator("[data-output]")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


def test_a_form_comes_by_itself_once_the_model_is_set_up_and_text_streams(
    open_page: Open, home: Path, tmp_path: Path
) -> None:
    project(tmp_path, STREAMS.format(kind="ConcatenateIterator", item="str", piece='f"{word}. "'))
    with playground_process.serving(tmp_path, home, until="Playground at") as (_, address):
        page = open_page(address)
        expect(page.get_by_role("status")).to_have_text("The model is being set up…")
        expect(page.locator("[data-clock]")).to_have_text(re.compile(r"\(\d+ s\)"))
        (tmp_path / "go").touch()
        expect(page.get_by_role("button", name="Run")).to_be_visible()

        run(page, "ends")
        expect(page.locator("[data-output]")).to_have_text("ends. ")
        expect(page.locator("[data-logs]")).to_have_text("a line of its log\n")
        expect(page.locator("[data-metrics]")).to_contain_text("pieces 1")
        expect(page.locator("[data-status]")).to_have_text("running")
        (tmp_path / "ends").touch()
        expect(page.locator("[data-status]")).to_have_text("succeeded")
        expect(page.locator("[data-output]")).to_have_text("ends. ends. ")
        expect(page.locator("[data-logs]")).to_have_text("a line of its log\nits last line\n")

        run(page, "never")
        expect(page.locator("[data-output]")).to_have_text("never. ")
        page.keyboard.press("Escape")
        expect(page.locator("[data-status]")).to_have_text("canceled")
        expect(page.locator("[data-output]")).to_have_text("never. ")
        expect(page.locator("[data-logs]")).to_have_text("a line of its log\n")

        run(page, "fails")
        expect(page.locator("[data-failure]")).to_contain_text("as was asked")
        expect(page.locator("[data-output]")).to_have_text("fails. ")


def test_pictures_stream_and_a_worker_that_dies_takes_none_away(open_page: Open, home: Path, tmp_path: Path) -> None:
    piece = 'Path("picture.gif") if Path("picture.gif").write_bytes(PICTURE) else None'
    source = STREAMS.format(kind="Iterator", item="Path", piece=piece).replace("Iterator, Input", "Input")
    last = 'print("its last line")'
    source = source.replace(last, f'if word == "dies":\n            os._exit(1)\n        {last}')
    project(tmp_path, f"import os\nfrom collections.abc import Iterator\n{source}")
    (tmp_path / "go").touch()
    with playground_process.serving(tmp_path, home) as (_, address):
        page = open_page(address)
        run(page, "ends")
        expect(page.locator("[data-output] img")).to_have_count(1)
        expect(page.locator("[data-status]")).to_have_text("running")
        (tmp_path / "ends").touch()
        expect(page.locator("[data-status]")).to_have_text("succeeded")
        expect(page.locator("[data-output] img")).to_have_count(2)
        run(page, "dies")
        expect(page.locator("[data-output] img")).to_have_count(1)
        (tmp_path / "dies").touch()
        expect(page.locator("[data-status]")).to_have_text("failed")
        expect(page.locator("[data-output] img")).to_have_count(1)
        expect(page.locator("[data-logs]")).to_contain_text("a line of its log")


def test_a_setup_that_failed_is_shown_with_its_logs(open_page: Open, home: Path, tmp_path: Path) -> None:
    project(tmp_path, STREAMS.format(kind="ConcatenateIterator", item="str", piece='f"{word}. "'))
    setup, rest = (tmp_path / "run.py").read_text().split("    @streaming")
    (tmp_path / "run.py").write_text(f'{setup}        raise RuntimeError("bad weights")\n    @streaming{rest}')
    with playground_process.serving(tmp_path, home, until="Playground at") as (_, address):
        page = open_page(address)
        expect(page.get_by_role("status")).to_have_text("The model is being set up…")
        (tmp_path / "go").touch()
        expect(page.get_by_role("alert")).to_contain_text("The model's setup failed.")
        expect(page.locator("[data-setup-logs]")).to_contain_text("RuntimeError: bad weights")
