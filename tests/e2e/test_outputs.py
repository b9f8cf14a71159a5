"""Every kind of output is shown as what it is."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Visit


@pytest.mark.parametrize(
    ("query", "shown", "said"),
    [
        ("kind=text&text=hello", ".prose", "hello"),
        ("kind=number", ".prose", "42.5"),
        ("kind=none", ".quiet", "gave no output"),
        ("kind=json", ".tree", "deep"),
        ("kind=table", "table", "score"),
        ("kind=png&count=1", "img", ""),
        ("kind=png&count=4", ".media img", ""),
        ("kind=wav&count=1", "audio", ""),
        ("kind=bin&count=1&text=weights", "a.file", "weights-0.bin"),
        ("kind=txt&count=12", "a.file", "made-11.txt"),
    ],
)
def test_an_output_is_shown_as_what_it_is(visit: Visit, query: str, shown: str, said: str) -> None:
    page = visit.run("outputs", query)
    place = page.locator(f"[data-output] {shown}")
    expect(place.last).to_be_visible()
    if said:
        expect(page.locator("[data-output]")).to_contain_text(said)
    expect(page.locator(".pane-foot", has_text="pieces")).to_be_visible()


def test_a_picture_is_zoomed_and_put_back(visit: Visit) -> None:
    page = visit.run("outputs", "kind=png&count=2")
    page.locator("[data-zoom]").first.click()
    expect(page.locator("[data-viewer] img")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("[data-viewer]")).to_be_hidden()


def test_a_file_tells_its_size_and_is_kept(visit: Visit) -> None:
    page = visit.run("outputs", "kind=bin&count=1&text=weights")
    expect(page.locator("a.file")).to_contain_text("6 B")
    with page.expect_download() as saved:
        page.locator("a.file").click()
    assert saved.value.path().read_text() == "file 0"
    assert saved.value.suggested_filename == "weights-0.bin"


def test_json_folds(visit: Visit) -> None:
    page = visit.run("outputs", "kind=json&text=inside")
    inside = page.get_by_text('"inside"')
    expect(inside).to_be_hidden()
    for name in ("deep", "list", "2"):
        page.locator(".tree summary", has_text=name).last.click()
    expect(inside).to_be_visible()


# Chromium makes the film itself: what it can record it can show.
_FILM = """async () => {
    const canvas = Object.assign(document.createElement("canvas"), {width: 64, height: 48});
    const paint = canvas.getContext("2d");
    const parts = [];
    const recorder = new MediaRecorder(canvas.captureStream(20), {mimeType: "video/webm"});
    recorder.ondataavailable = (event) => parts.push(event.data);
    const ended = new Promise((resolve) => { recorder.onstop = resolve; });
    recorder.start();
    for (let frame = 0; frame < 12; frame += 1) {
        paint.fillStyle = frame % 2 ? "teal" : "gold";
        paint.fillRect(0, 0, 64, 48);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    recorder.stop();
    await ended;
    return Array.from(new Uint8Array(await new Blob(parts).arrayBuffer()));
}"""


def test_a_film_plays(visit: Visit) -> None:
    page = visit.go("/yard/gallery?count=0")
    film = bytes(page.evaluate(_FILM))
    page.locator("[data-field=images] [data-add]").click()
    given = page.locator("[data-field=images] [data-file]")
    given.set_input_files([{"name": "a.webm", "mimeType": "video/webm", "buffer": film}])
    expect(page.locator("[data-field=images] [data-progress]")).to_contain_text("a.webm, ")
    page.keyboard.press("Control+Enter")
    visit.ended()
    video = page.locator("[data-output] video")
    expect(video).to_be_visible()
    assert video.get_attribute("controls") is not None
    page.wait_for_function("document.querySelector('[data-output] video').readyState > 0")
    played = video.evaluate(
        "(one) => { one.muted = true; return one.play().then(() => [one.videoWidth, one.videoHeight]); }"
    )
    assert played == [64, 48]
