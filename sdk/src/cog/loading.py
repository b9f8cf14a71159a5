"""From `run.py:Runner` to the class or function of that name: a model's file is executed as a module."""

from __future__ import annotations

import importlib.util
import sys
import types
import typing
import warnings
from pathlib import Path
from typing import Any

from cog.errors import CogError

_DEFAULT_NAMES = ("Runner", "Predictor")


class LoadError(CogError):
    """The reference names nothing that can be a model. The text says what was looked for."""


def load(ref: str, root: Path) -> Any:
    """What `ref` (`file.py:Name`, or `file.py` for its `Runner` or `Predictor`) names in folder `root`.

    Raises LoadError, and whatever the module raises.
    """
    file, _, name = ref.partition(":")
    return _target(_module(root / file), name)


def _module(path: Path) -> types.ModuleType:
    """Executes a file as a module under its own name, whatever else has that name; once, if it is that one already."""
    if not path.is_file():
        raise LoadError(f"{path.name} not found in {path.parent}")
    present = sys.modules.get(path.stem)
    if present is not None and getattr(present, "__file__", None) == str(path):
        return present
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(path.stem, None)
        raise
    return module


def _target(module: types.ModuleType, name: str) -> Any:
    if name:
        if not hasattr(module, name):
            raise LoadError(f"{name} not found in {module.__name__}.py")
        return getattr(module, name)
    found = [candidate for candidate in _DEFAULT_NAMES if hasattr(module, candidate)]
    if not found:
        raise LoadError(f"module '{module.__name__}' has no Runner or Predictor")
    if len(found) == 2:
        warnings.warn("Both Runner and Predictor are defined; using Runner.", UserWarning, stacklevel=1)
    elif found == ["Predictor"]:
        warnings.warn("Predictor is deprecated; use Runner instead", DeprecationWarning, stacklevel=1)
    return getattr(module, found[0])


def defines(cls: type, name: str) -> bool:
    """Whether the author wrote a method of this name, rather than the base classes."""
    for base in cls.__mro__:
        if name in vars(base):
            return base is not object and base.__module__.partition(".")[0] != "cog"
    return False


def method(target: Any) -> Any:
    """The bound `run` or `predict` that the author wrote, None where there is neither. Raises LoadError for both."""
    cls = type(target)
    names = [name for name in ("run", "predict") if defines(cls, name)]
    if len(names) == 2:
        raise LoadError(f"{cls.__name__} must define either run() or predict(), not both")
    return getattr(target, names[0]) if names else None


def hints(call: Any) -> dict[str, Any]:
    """The annotations of a function as objects; none where they cannot be resolved."""
    try:
        return typing.get_type_hints(call)
    except Exception:
        return {}


def parameters(call: Any) -> tuple[str, ...]:
    """The names of a function's parameters; `inspect` would cost a starting worker milliseconds."""
    code = getattr(getattr(call, "__func__", call), "__code__", None)
    if code is None:
        return ()
    return tuple(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
