"""lissom makes a trained neural network smaller and faster, and proves it.

Everything public is here; each name is imported when it is first used, so that `import lissom`
is fast and touches no optional package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lissom._version import __version__

if TYPE_CHECKING:
    from lissom.batches import Batches as Batches
    from lissom.errors import LissomError as LissomError
    from lissom.measurement.records import Settings as Settings
    from lissom.measurement.whole import measure as measure
    from lissom.metrics import Metric as Metric
    from lissom.model import open_model as open_model
    from lissom.recipe.document import open_recipe as open_recipe
    from lissom.recipe.schema import Recipe as Recipe
    from lissom.recipe.schema import Step as Step
    from lissom.search.budget import Budget as Budget
    from lissom.search.check import check as check
    from lissom.search.compress import compress as compress
    from lissom.search.diagnose import diagnose as diagnose
    from lissom.search.run import run as run
    from lissom.search.sensitivity import sensitivity as sensitivity
    from lissom.storage.load import load as load
    from lissom.storage.pack import pack as pack
    from lissom.storage.safe import safe_open as safe_open
    from lissom.storage.unpack import unpack as unpack
    from lissom.task import Task as Task

_PUBLIC = {
    "Batches": "lissom.batches",
    "Budget": "lissom.search.budget",
    "LissomError": "lissom.errors",
    "Metric": "lissom.metrics",
    "Recipe": "lissom.recipe.schema",
    "Settings": "lissom.measurement.records",
    "Step": "lissom.recipe.schema",
    "Task": "lissom.task",
    "check": "lissom.search.check",
    "compress": "lissom.search.compress",
    "diagnose": "lissom.search.diagnose",
    "load": "lissom.storage.load",
    "measure": "lissom.measurement.whole",
    "open_model": "lissom.model",
    "open_recipe": "lissom.recipe.document",
    "pack": "lissom.storage.pack",
    "run": "lissom.search.run",
    "safe_open": "lissom.storage.safe",
    "sensitivity": "lissom.search.sensitivity",
    "unpack": "lissom.storage.unpack",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'lissom' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
