"""`yard logs`: what predictions and instances print, to the end or as it comes."""

from __future__ import annotations

import errno
import gc
import json
import re
import select
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

from modelyard import settings
from modelyard.cli import client, models, predictions, quick, sources
from modelyard.cli.client import Login
from modelyard.cli.sources import Source
from modelyard.cli.talk import Talk
from modelyard.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from modelyard.cli.feeds import Feed, News

# Of several sources: so many predictions, and so many last lines of each.
_PREDICTIONS, _LINES = 5, 20
_LOOK_SECONDS, _LISTEN_SECONDS = 1.0, 0.25
# More than these are not followed at once.
_MOST_FEEDS = 64
_LEFT_OUT = re.compile(r"\[([\d,]+) characters of log before this are left out here\]\n")


class Wanted(NamedTuple):
    """What is asked for: `lines` None is all of them."""

    lines: int | None
    as_json: bool


def run(talk: Talk, target: str | None, follow: bool, lines: int | None, as_json: bool) -> int:
    """Show them; 1 when the one prediction that was asked for has failed."""
    login = client.required_login(settings.environment())
    paper = _Paper(talk, as_json=as_json)
    if follow:
        gc.enable()  # a command of a moment does without, this one may run for days
    if target is not None and "/" not in target:
        source = _source(login, target)
        return _show_one(login, source, paper, Wanted(lines, as_json), follow=follow)
    if target is not None:
        client.call(login, "GET", models.path_of(target))
    many = Wanted(_LINES if lines is None else lines, as_json)
    paper.titles = True
    _show_many(login, target, paper, many, follow=follow)
    return 0


def _source(login: Login, target: str) -> Source:
    """The prediction or the instance with this id. Raises NotFound."""
    for find in (_prediction, _instance):
        try:
            return find(client.call(login, "GET", f"{_PLACES[find]}/{quote(target, safe='')}"))
        except NotFound:
            continue
    raise NotFound(
        f"there is no prediction and no instance {target}",
        hint="yard predictions and yard ps list them; a model is named OWNER/NAME",
    )


def _prediction(one: dict[str, Any]) -> Source:
    stream = "/v1/" + one["urls"]["stream"].partition("/v1/")[2]
    return Source("prediction", one["id"], one["model"], stream, one)


def _instance(one: dict[str, Any]) -> Source:
    return Source("instance", one["id"], one["model"] or "", f"/v1/instances/{one['id']}/logs", one)


_PLACES = {_prediction: "/v1/predictions", _instance: "/v1/instances"}


# One


def _show_one(login: Login, source: Source, paper: _Paper, wanted: Wanted, *, follow: bool) -> int:
    if follow:
        news: News = _news()
        feed = _feed(login, source, paper, wanted, news)
        feed.start()
        while not feed.ended or not news.empty():
            _take(news, paper)
    else:
        for text in _said(login, source, wanted):
            paper.show(source, text)
    if source.kind != "prediction":
        return 0
    now = client.call(login, "GET", predictions.address(source.id)) if follow else source.document
    if now["status"] == "failed":
        paper.talk.error(f"it failed: {now['error']}")
    return 1 if now["status"] == "failed" else 0


def _said(login: Login, source: Source, wanted: Wanted) -> Iterator[str]:
    """What it has said so far."""
    if source.kind == "prediction":
        document = source.document
        if "logs" not in document:
            document = client.call(login, "GET", predictions.address(source.id))
        yield _last(document.get("logs") or "", wanted.lines)
        return
    tail = "" if wanted.lines is None else f"?tail={wanted.lines}"
    with client.open_reply(login, source.path + tail, accept="text/plain", timeout_seconds=sources.PATIENCE) as reply:
        yield from sources.texts(reply.pieces())


def _last(text: str, lines: int | None) -> str:
    if lines is None:
        return text
    return "".join(text.splitlines(keepends=True)[-lines:]) if lines else ""


def _news() -> News:
    # Threads and what they need are loaded for those who follow only.
    from modelyard.cli import feeds

    return feeds.News()


def _feed(login: Login, source: Source, paper: _Paper, wanted: Wanted, news: News) -> Feed:
    """What follows a source; of a prediction, what it has said so far is shown at once."""
    from modelyard.cli.feeds import Feed

    if source.kind == "instance":
        tail = "" if wanted.lines is None else f"?tail={wanted.lines}"
        return Feed(login, source._replace(path=source.path + tail), news)
    if wanted.lines is None:
        return Feed(login, source, news)
    document = client.call(login, "GET", predictions.address(source.id))
    logs = document.get("logs") or ""
    left_out = _LEFT_OUT.match(logs)
    seen = len(logs) if left_out is None else len(logs) - left_out.end() + int(left_out[1].replace(",", ""))
    paper.show(source, _last(logs, wanted.lines))
    return Feed(login, source, news, after=f"0-{seen}")


# Many


def _show_many(login: Login, model: str | None, paper: _Paper, wanted: Wanted, *, follow: bool) -> None:
    finder = _Finder(login, model)
    if not follow:
        if not (_show_all(finder.find(), login, paper, wanted) or _show_all(finder.ended(), login, paper, wanted)):
            paper.talk.say("Nothing was said yet. `yard logs --follow` waits for it.")
        return
    paper.prefixes = True
    news: News = _news()
    running: list[Feed] = []
    looked = 0.0
    while True:
        if time.monotonic() - looked >= _LOOK_SECONDS:
            running = [feed for feed in running if not feed.ended]
            running += _start(login, finder, paper, wanted, news, _MOST_FEEDS - len(running))
            looked = time.monotonic()
        _take(news, paper)


def _show_all(sources_: Iterable[Source], login: Login, paper: _Paper, wanted: Wanted) -> bool:
    """False where none of them has said anything."""
    shown = False
    for source in sources_:
        for text in _said(login, source, wanted):
            paper.show(source, text)
            shown = shown or bool(text)
    return shown


def _start(login: Login, finder: _Finder, paper: _Paper, wanted: Wanted, news: News, most: int) -> list[Feed]:
    # What begins meanwhile is told from its beginning, however little of what was said before is wanted.
    wanted = wanted._replace(lines=None) if finder.began else wanted
    try:
        found = finder.find()
        feeds_ = [_feed(login, source, paper, wanted, news) for source in found[:most]]
    except Unavailable as error:
        finder.warn(paper.talk, error.detail)
        return []
    if len(found) > most:
        paper.talk.warn(f"more than {_MOST_FEEDS} run at once; {len(found) - most} of them are not shown")
    for feed in feeds_:
        feed.start()
    return feeds_


class _Finder:
    """Finds instances and predictions, each once; at first the last few, then those that come."""

    def __init__(self, login: Login, model: str | None) -> None:
        self._login = login
        self._model = model
        self._seen: set[str] = set()
        self._since: str | None = None
        self.began = False  # have those been found that were there before?
        self._warned = False

    def find(self) -> list[Source]:
        """Those that were not found before, the oldest first."""
        query = {"created_after": self._since} if self._since else {}
        if self._model is not None:
            query["model"] = self._model
        most = _PREDICTIONS if self._since is None else _MOST_FEEDS
        newest = list(client.pages(self._login, f"/v1/predictions?{urlencode(query)}", most))
        wanted = self._instances("/v1/instances")
        if newest:
            self._since = newest[0]["created_at"]
        found = [one for one in [*wanted, *map(_prediction, reversed(newest))] if one.id not in self._seen]
        self._seen.update(one.id for one in found)
        self._warned = False
        self.began = True
        return found

    def ended(self) -> list[Source]:
        """The instance that was the last to begin, though it has ended: it may say why there is no other."""
        ended = self._instances("/v1/instances?ended=true")
        return sorted(ended, key=lambda one: one.document["created_at"])[-1:]

    def _instances(self, path: str) -> list[Source]:
        found = map(_instance, client.call(self._login, "GET", path)["results"])
        return [one for one in found if self._model is None or one.model == self._model]

    def warn(self, talk: Talk, text: str) -> None:
        """Say once that the yard is away."""
        if not self._warned:
            talk.warn(text)
        self._warned = True


# Paper


class _Paper:
    """Writes to stdout what was said. `titles`: where there are several sources, which one speaks.

    `prefixes`: they speak by turns, so each has its title once, and each line the id of its source.
    """

    def __init__(self, talk: Talk, *, as_json: bool) -> None:
        self.talk = talk
        self.titles = False
        self.prefixes = False
        self._as_json = as_json
        self._out = talk.on(sys.stdout)
        self._named: set[str] = set()
        self._last: str | None = None
        self._fresh = True
        self._gone = select.poll()
        self._watched = _watch(self._gone)

    def show(self, source: Source, text: str) -> None:
        """A piece of what a source said."""
        if not text:
            return
        if self._as_json:
            piece = {"source": source.kind, "id": source.id, "model": source.model, "text": text}
            self._out.say(json.dumps(piece, ensure_ascii=False))
            return
        begun = "" if self._fresh or self._last == source.id else "\n"
        if self.titles and self._last != source.id and not (self.prefixes and source.id in self._named):
            title = f"==> {source.kind} {source.id}, {source.model} <=="
            begun = f"{begun}{self._out.paint(title, 'bold')}\n"
        self._out.piece(begun + (self._prefixed(source, text) if self.prefixes else text))
        self._named.add(source.id)
        self._last, self._fresh = source.id, text.endswith("\n")

    def _prefixed(self, source: Source, text: str) -> str:
        """Each line with the id of its source before it, where it begins here."""
        prefix = self._out.paint(f"{source.id} | ", "quiet")
        lines = text.splitlines(keepends=True)
        continued = not self._fresh and self._last == source.id
        return "".join(line if number == 0 and continued else prefix + line for number, line in enumerate(lines))

    def check(self) -> None:
        """Raises BrokenPipeError when whoever read our output has left, also while there is nothing to write."""
        if self._watched and any(event & (select.POLLERR | select.POLLHUP) for _, event in self._gone.poll(0)):
            raise BrokenPipeError(errno.EPIPE, "nobody reads any more")


def _watch(poll: select.poll) -> bool:
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        return False
    return True


def _take(news: News, paper: _Paper) -> None:
    """Show what came, or wait a moment for it."""
    piece = news.next(_LISTEN_SECONDS)
    if piece is None:
        paper.check()
    elif isinstance(piece.said, Exception):
        raise piece.said
    elif piece.warning:
        paper.talk.warn(piece.said)
    else:
        paper.show(piece.source, piece.said)


COMMAND = quick.Command(
    name="logs",
    about="Show what predictions and instances print",
    text="""Show what a prediction, an instance, or both of a model print. Without TARGET: of all models.

    TARGET is the id of a prediction or of an instance, or OWNER/NAME: then the last five predictions and the running
    instances are shown. An instance's log has its setup, what is printed between predictions, and how it ended. With
    --follow it goes on: to the end of the one that was named, else until Ctrl-C.
    """,
    examples=(
        "yard logs 01m8b9h5pkb307w3pdhsrx1k5e",
        "yard logs -f yard/hello",
        "yard logs -f -n 0",
        "yard logs -n 100 01m8b9h5pkb307w3pdhsrx1k5e | grep -i error",
    ),
    run=run,
    arguments=(quick.Argument("target", "TARGET", required=False, completes="models"),),
    options=(
        quick.Option(("-f", "--follow"), "follow", "Go on while more is said."),
        quick.Option(("-n", "--lines"), "lines", "Only so many last lines of each.", "number", "NUMBER"),
        quick.Option(("--json",), "as_json", "Print a JSON object a line: source, id, model, text."),
    ),
)
