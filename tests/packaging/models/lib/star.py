# ruff: noqa
STARRED = "from a star"
