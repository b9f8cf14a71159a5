"""The names that mean the same in every project: of the standard library, of Cog, and of packages that models use."""

from __future__ import annotations

from typing import Final


def words(text: str) -> frozenset[str]:
    """The words of a text: a set of names as people read it."""
    return frozenset(text.split())


# Never looked for among the project's files: the standard library's common names and packages that models install.
EXTERNAL: Final = words(
    "abc asyncio builtins cog collections concurrent contextlib dataclasses enum functools io itertools json logging"
    " math multiprocessing os pathlib re string sys threading typing typing_extensions unittest warnings PIL accelerate"
    " aiohttp cv2 diffusers fastapi flask httpx jax numpy pydantic pytest requests safetensors scipy skimage sklearn"
    " tensorflow torch transformers"
)
# Where one thing has many addresses, the one that the rest of this package knows.
_SAME_PLACE: Final = {
    "typing_extensions": "typing",
    "collections.abc": "typing",
    "cog.types": "cog",
    "cog.input": "cog",
    "cog.model": "cog",
    "cog.predictor": "cog",
    "cog.base_input": "cog",
    "cog.base_predictor": "cog",
    "pydantic.main": "pydantic",
    "pydantic.fields": "pydantic",
}
BUILTINS: Final = words(
    "bool bytearray bytes complex dict float frozenset int list object set str tuple type None Ellipsis Exception"
)
# What `from typing import *` and `from cog import *` bring in, as far as it matters here.
STAR_NAMES: Final = frozenset(
    f"{place}.{name}"
    for place, names in {
        "typing": "Annotated Any AsyncGenerator AsyncIterator ClassVar Dict Generator Iterator List Literal Mapping"
        " NewType NotRequired Optional Required Set Sequence Tuple TypedDict Union",
        "cog": "AsyncConcatenateIterator BaseModel BasePredictor BaseRunner ConcatenateIterator File Input Opaque Path"
        " Secret batch concurrent streaming",
        "pydantic": "BaseModel Field",
        "enum": "Enum IntEnum StrEnum",
        "dataclasses": "dataclass field",
        "pathlib": "Path PurePath PosixPath",
    }.items()
    for name in names.split()
)


def canonical(dotted: str) -> str:
    """One address for what can be imported from several places."""
    place, _, name = dotted.rpartition(".")
    return f"{_SAME_PLACE[place]}.{name}" if place in _SAME_PLACE else dotted
