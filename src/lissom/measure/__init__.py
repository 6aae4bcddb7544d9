"""What a model file costs and what it is worth: size, latency, memory and quality, each measured.

Nothing is imported here: take each function from its own module, for example
`from lissom.measure.latency import compare_speed`. The package itself can be called: a package
and a function cannot share a name otherwise, and `lissom.measure(path)` is
`lissom.measure.measure.measure(path)`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lissom.measure.records import Measurement


class _Callable(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Measurement:
        """Measure a model file; see `lissom.measure.measure.measure`."""
        from lissom.measure.measure import measure

        return measure(*args, **options)


sys.modules[__name__].__class__ = _Callable
