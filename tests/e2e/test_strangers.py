"""What is not ours: markup in what people and models say, other sites' pages, names, links used twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Open, Visit
from tests.faults.yard import Yard

ATTACKS = [
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    "<svg/onload=window.pwned=1>",
    "</textarea></pre></script><script>window.pwned=1</script>",
    '" autofocus onfocus=window.pwned=1 x="',
    "' onmouseover='window.pwned=1",
    "javascript:window.pwned=1//",
    "data:text/html,<script>parent.pwned=1</script>",
    "{{ 7 * 7 }}{% raw %}${7*7}",
    "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "<a href='javascript:window.pwned=1'>press</a>",
    "<style>body{display:none}</style><base href='//evil.example/'>",
    "<form action='//evil.example'><button>x</button></form><meta http-equiv=refresh content='0;url=//evil.example'>",
    "\u202egnp.exe\u0000<b>\ufeff",
    "w" * 3000,
]
README = "\n\n".join(
    [
        "# Title\n\n[press](javascript:window.pwned=1) ![x](https://evil.example/x.png) [data](data:text/html,x)",
        '<a href="javascript:window.pwned=1" onclick="window.pwned=1">raw</a> [ok](https://example.org/)',
        *ATTACKS[:14],
    ]
).replace("\u0000", "")


def harmless(visit: Visit) -> None:
    page = visit.page
    assert page.evaluate("window.pwned") is None
    odd = ", ".join(f"main {name}" for name in ("script", "iframe", "base", "style", "meta"))
    assert page.locator(f"{odd}, [onerror], [onload], [onfocus], a[href^='javascript' i]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("getComputedStyle(document.body).display") == "flex"


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_markup_is_text_wherever_it_stands(visit: Visit, yard: Yard, attack: str) -> None:
    plain = attack.replace("\u0000", "")
    for kind in ("text", "json", "table", "fail", "txt" if len(attack) < 200 else "text"):
        body = {"input": {"kind": kind, "text": plain, "count": 2}}
        made = yard.http.post("/v1/models/yard/outputs/predictions", json=body, headers={"prefer": "wait"}).json()
        assert made["status"] in ("succeeded", "failed")
        visit.go(f"/p/{made['id']}")
        harmless(visit)
        visit.go(f"/yard/outputs?prediction-id={made['id']}")
        harmless(visit)
    visit.go("/yard/outputs/examples")
    harmless(visit)
    visit.go("/predictions")
    harmless(visit)


def test_names_descriptions_and_readmes_do_no_harm(visit: Visit, yard: Yard) -> None:
    texts = {"description": " ".join(ATTACKS[:13]), "readme": README, "github_url": "javascript:window.pwned=1"}
    changed = yard.http.patch("/v1/models/yard/outputs", json={"description": texts["description"], "readme": README})
    assert changed.status_code == 200
    for path in ("/", "/yard/outputs", "/yard/outputs/readme", "/search?q=%3Cscript%3Ewindow.pwned=1%3C/script%3E"):
        visit.go(path)
        harmless(visit)
    visit.go("/yard/outputs/readme")
    assert visit.page.locator(".readme a").evaluate_all("all => all.map((one) => one.getAttribute('href'))") == [
        "https://evil.example/x.png",
        "https://example.org/",
    ]


def test_a_link_is_used_once(open_window: Open, yard: Yard) -> None:
    link = yard.http.post("/v1/login-links").json()["url"]
    first, second = open_window(signed=False), open_window(signed=False, forgiving=True)
    # Looking at it, as programs do that preview links, does not use it up.
    assert httpx.get(link).status_code == 200
    first.page.goto(link)
    first.page.wait_for_url(f"{yard.url}/")
    cookie = next(one for one in first.context.cookies() if one["name"].startswith("yard_"))
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    second.page.goto(link)
    expect(second.page.get_by_text("used before, or it is too old")).to_be_visible()
    assert not [one for one in second.context.cookies() if one["name"].startswith("yard_")]


def test_signing_out_ends_the_session_everywhere(open_window: Open, yard: Yard) -> None:
    link = yard.http.post("/v1/login-links").json()["url"]
    visit = open_window(signed=False)
    visit.page.goto(link)
    visit.page.wait_for_url(f"{yard.url}/")
    cookies = {one["name"]: one["value"] for one in visit.context.cookies()}
    assert httpx.get(f"{yard.url}/v1/account", cookies=cookies).json()["username"] == "yard"
    visit.page.get_by_role("button", name="Sign out").click()
    expect(visit.page.get_by_role("link", name="Sign in")).to_be_visible()
    assert httpx.get(f"{yard.url}/v1/account", cookies=cookies).status_code == 401


def test_a_stranger_reads_what_is_public_and_changes_nothing(open_window: Open, yard: Yard) -> None:
    visit = open_window(signed=False, forgiving=True)
    page = visit.go("/")
    expect(page.get_by_role("link", name="yard/empty")).to_be_visible()
    assert page.get_by_role("link", name="yard/outputs").count() == 0
    for path, status in (("/yard/empty", 200), ("/yard/outputs", 404), ("/predictions", 401), ("/yard", 401)):
        assert httpx.get(yard.url + path, headers={"accept": "text/html"}).status_code == status
    assert httpx.post(f"{yard.url}/v1/predictions", json={}, headers={"origin": yard.url}).status_code == 401
    assert httpx.post(f"{yard.url}/logout").status_code == 403


@pytest.fixture
def cookies(session: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in session["cookies"]}


def test_a_rebound_name_is_refused(yard: Yard, cookies: dict[str, str]) -> None:
    for path in ("/", "/yard/empty", "/login", "/static/x/site.js"):
        if path.startswith("/static"):
            continue
        refused = httpx.get(yard.url + path, headers={"host": f"evil.example:{yard.port}"})
        assert refused.status_code == 421
        assert "evil.example" in refused.text
    held = httpx.get(f"{yard.url}/v1/account", headers={"host": "evil.example"}, cookies=cookies)
    assert held.status_code == 421
    for name in ("localhost", "127.0.0.1", "[::1]", "192.168.7.9"):
        assert httpx.get(yard.url, headers={"host": f"{name}:{yard.port}"}).status_code == 200


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:1"])
def test_a_cookie_changes_nothing_from_another_origin(yard: Yard, cookies: dict[str, str], origin: str | None) -> None:
    headers = {} if origin is None else {"origin": origin}
    body = {"input": {"text": "stolen"}}
    for path in ("/v1/models/yard/outputs/predictions", "/v1/login-links", "/logout"):
        assert httpx.post(yard.url + path, json=body, headers=headers, cookies=cookies).status_code == 403
    mine = {"origin": yard.url}
    assert httpx.post(f"{yard.url}/v1/login-links", headers=mine, cookies=cookies).status_code == 201


@pytest.fixture
def another_site(yard: Yard, tmp_path: Path) -> Iterator[str]:
    """A page of somebody else, that posts to the yard by itself and by its reader's hand."""
    markup = f"""<!doctype html><title>Cats</title>
    <form method=post action="{yard.url}/logout"><button>Cats!</button></form>
    <script>
    const body = JSON.stringify({{input: {{text: "stolen"}}}});
    const how = {{method: "POST", body, credentials: "include", mode: "no-cors"}};
    fetch("{yard.url}/v1/models/yard/outputs/predictions", how)
        .finally(() => document.title = "tried");
    </script>""".encode()

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(markup)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()


def test_another_sites_page_does_nothing_here(open_window: Open, yard: Yard, another_site: str) -> None:
    visit = open_window(forgiving=True)
    before = len(yard.http.get("/v1/predictions").json()["results"])
    visit.page.goto(another_site)
    visit.page.wait_for_function("document.title === 'tried'")
    visit.page.get_by_role("button").click()
    visit.page.wait_for_load_state()
    assert len(yard.http.get("/v1/predictions").json()["results"]) == before
    expect(visit.go("/").get_by_role("button", name="Sign out")).to_be_visible()
