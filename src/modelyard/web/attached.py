"""Files in a view as more than addresses: uploads by their own names and as what they are, outputs with their sizes."""

from __future__ import annotations

import dataclasses
import re
from urllib.parse import unquote, urlencode

from modelyard import files
from modelyard.accounts import Actor
from modelyard.web.base import Web
from modelyard.web.shown import View

_UPLOAD = re.compile(r"https?://[^/]+(?:/[^/]+)*/v1/files/([0-9a-z]{26})/?")
_OUTPUT = re.compile(r"/outputs/([0-9a-z]{26})/(\d{1,9})/([0-9a-f]+)/([^/?]+)")
_LINK_SECONDS = 3600
# Looked up one by one; a page has other things to do than a thousand of these.
_MOST = 100


async def filled(web: Web, actor: Actor, view: View) -> View:
    """The same view, its files filled in."""
    if view.kind == "link":
        return await _upload(web, actor, view)
    if view.kind == "file":
        return await _output(web, view)
    if view.items:
        items = [await filled(web, actor, item) for item in view.items[:_MOST]]
        return dataclasses.replace(view, items=(*items, *view.items[_MOST:]))
    if view.rows:
        rows = [tuple([await filled(web, actor, cell) for cell in row]) for row in view.rows[:_MOST]]
        return dataclasses.replace(view, rows=(*rows, *view.rows[_MOST:]))
    return view


async def _upload(web: Web, actor: Actor, view: View) -> View:
    """An input that is a file of this account. Its address is good for an hour, as a picture of a page must be."""
    named = _UPLOAD.fullmatch(view.address)
    file = None if named is None else await web.files.get(actor.account.id, named[1])
    if file is None:
        return view
    expiry = web.clock() // 1_000_000 + _LINK_SECONDS
    owner, secret = actor.account.username, await web.accounts.files_secret(actor.account.id)
    query = urlencode({"owner": owner, "expiry": expiry, "signature": files.signature(secret, owner, file.id, expiry)})
    kind = file.content_type.partition("/")[0]
    shown = kind if kind in ("image", "audio", "video") and "svg" not in file.content_type else "file"
    address = f"/v1/files/{file.id}/download?{query}"
    return View(kind=shown, address=address, name=file.name, text=file.content_type, total=file.size)


async def _output(web: Web, view: View) -> View:
    named = _OUTPUT.fullmatch(view.address)
    key = None if named is None else web.outputs.verify(named[1], int(named[2]), named[3], unquote(named[4]))
    stat = None if key is None else await web.blobs.stat(key)
    return view if stat is None else dataclasses.replace(view, total=stat.size)
