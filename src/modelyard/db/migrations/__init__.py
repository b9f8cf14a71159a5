"""The shape of the tables over time: numbered revisions, applied forward, each file never edited after a release.

The server does not import the migration library: it compares revisions with plain SQL, and only where they differ a
child process (`python -m modelyard.db.migrations`) does the work.
"""
