"""`python -m modelyard.db.migrations URL [SCRIPTS [REVISION]]`: bring a database to a revision, the newest by default.

`-` for the URL reads it from standard input, so that a password is not seen in the list of processes. SCRIPTS is the
folder of revisions, this package's own by default.
"""

from __future__ import annotations

import sys
from pathlib import Path

import sqlalchemy as sa
from alembic import command, config

# Any number that nobody else uses: two yards on one PostgreSQL migrate one after the other.
_LOCK = 4_160_273_911


def upgrade(url: str, scripts: Path, to: str) -> None:
    """Apply every revision that is missing up to `to`, all in one transaction."""
    engine = _engine(url)
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            settings = config.Config()
            settings.set_main_option("script_location", str(scripts).replace("%", "%%"))
            settings.attributes["connection"] = connection
            command.upgrade(settings, to)
    finally:
        engine.dispose()


def _engine(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed.set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)
    engine = sa.create_engine(parsed, poolclass=sa.NullPool)

    # The driver begins no transaction before DDL; without it a killed migration would leave half of its tables.
    @sa.event.listens_for(engine, "connect")
    def _leave_alone(connection: object, record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def main(arguments: list[str]) -> int:
    url = sys.stdin.read().strip() if arguments[0] == "-" else arguments[0]
    scripts = Path(arguments[1]) if len(arguments) > 1 else Path(__file__).parent
    try:
        upgrade(url, scripts, arguments[2] if len(arguments) > 2 else "head")
    except sa.exc.DBAPIError as error:
        # The driver's own words; the library's would end with a link.
        sys.stderr.write(" ".join(str(error.orig).split()) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
