"""Optional packages: imported where they are needed, with a sentence that says how to get them where they are missing."""

import importlib
from typing import Any

__all__ = ["MissingExtra", "require"]


class MissingExtra(ImportError):
    """A package of an extra is not installed; the message says how to install it."""


def require(module: str, extra: str = "bench") -> Any:
    """The module, imported; `extra` brings its package.

    Raises
    ------
    MissingExtra
        If its package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingExtra(f'{package} is not installed: pip install "fastconv[{extra}]"', name=package) from error
