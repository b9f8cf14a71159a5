"""Which version this is, and of which Cog it has the HTTP API."""

from __future__ import annotations

VERSION = "0.1.0"
# What clients that ask are told.
COG_VERSION = "0.23.1"
