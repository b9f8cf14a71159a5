"""A model's README as markup that can do no harm: CommonMark without HTML, then only what is on a list."""

from __future__ import annotations

from functools import lru_cache

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.token import Token

# The worst of so much takes a second or two, which is why callers use a thread.
LONGEST = 100_000
_TAGS = {
    *("h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "s", "del"),
    *("ul", "ol", "li", "a", "table", "thead", "tbody", "tr", "th", "td"),
}
_ATTRIBUTES = {"a": {"href", "title"}, "th": {"align"}, "td": {"align"}, "ol": {"start"}}
_markdown = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])


def _image(self: object, tokens: list[Token], index: int, options: object, env: object) -> str:
    # Pictures of other sites would tell those sites who reads; they are linked to instead.
    token = tokens[index]
    source, said = escapeHtml(str(token.attrGet("src") or "")), escapeHtml(token.content or "picture")
    return f'<a href="{source}">{said}</a>'


_markdown.add_render_rule("image", _image)


@lru_cache(maxsize=200)
def render(text: str) -> str:
    """Markup for a page; what is too long is cut, and says so."""
    cut = text[:LONGEST]
    made = _markdown.render(cut) + ("<p>The rest is cut.</p>" if len(text) > LONGEST else "")
    return nh3.clean(
        made,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
