"""Environments of the user's own, in modules beside the spec."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType


def import_own(module: str) -> ModuleType:
    """A module that a spec names; it may lie in the working directory. That is searched behind all that
    is installed, and from here on only, so no file there takes the place of a package that was not
    asked for."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    return importlib.import_module(module)
