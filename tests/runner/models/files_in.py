"""Models that take files."""

from cog import File, Input, Path


def describe(path: Path) -> list:
    return [type(path).__name__, path.name, path.read_bytes().decode(errors="replace") if path.exists() else None]


def many(paths: list[Path], one: Path | None = Input(default=None)) -> list:  # noqa: B008
    return [[path.name, path.read_text()] for path in paths] + ([one.read_text()] if one else [])


def opened(file: File) -> str:
    return file.read().decode()


def kept(path: Path) -> str:
    return str(path)


async def from_async(path: Path) -> str:
    return path.read_text()


def plain(text: str) -> str:
    return text
