# ruff: noqa
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Union

from cog import BasePredictor, File, Input, Path, Secret


@dataclass
class Box:
    size: Union[int, str]
    inner: Optional[List[Optional[str]]] = None


class Predictor(BasePredictor):
    def predict(
        self,
        text: str = None,
        seed: int = Input(default=None, ge=0),
        image: Path = Input(default=None),
        file: File = None,
        token: Secret = None,
        many: List[str] = None,
        either: Union[str, int] = None,
        anything: Any = None,
        size: str = Input(default=None, choices=["s", "m"]),
        known: str = "x",
        asked: Optional[int] = Input(description="may be none"),
    ) -> Union[Path, List[Path], Dict[str, Box], Box, None]: ...
