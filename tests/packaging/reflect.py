"""Reads the schemas of models by reflection, as a worker does: `python reflect.py FOLDER FILE…` prints JSON by file.

Where a schema is refused, `{"refused": text}` stands instead; where a package is not installed,
`{"needs": name}`. Run as a script in a process of its own.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

from modelyard_runner import loader


def main() -> None:
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    found: dict[str, object] = {}
    for file in sys.argv[2:]:
        try:
            found[file] = loader.load(f"{file}:{_name(folder / file)}", folder).schema()
        except ValueError as error:
            found[file] = {"refused": str(error)}
        except ModuleNotFoundError as error:
            found[file] = {"needs": error.name}
    print(json.dumps(found))


def _name(path: Path) -> str:
    text = path.read_text()
    return next(name for name in ("Runner", "Predictor", "run") if f"class {name}" in text or f"def {name}(" in text)


main()
