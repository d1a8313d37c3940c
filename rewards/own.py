"""What is the user's own: a reward, a credit rule or tasks, named by import path."""

import importlib
import sys
from pathlib import Path

from rewards.base import said


def named(path: str) -> object:
    """Return what an import path (my_package.my_module:my_name) names.

    Modules are looked for where Python does, and in the working directory. Raises LookupError where there is none.
    """
    module, _, attribute = path.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        loaded = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the module is the user's, and may raise anything
        raise LookupError(f"{path}: cannot be imported: {said(error)}") from None
    found = getattr(loaded, attribute, None)
    if found is None:
        raise LookupError(f"{path}: the module {module} has no {attribute}")
    return found
