"""The package openvino, imported without what it tells others."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from lissom.errors import require

TELEMETRY = "openvino_telemetry"


@cache
def openvino_package() -> Any:
    """The package, which reports every import over the network if it can: here it cannot.

    It does without the package that sends reports where that is not installed, and so it is told.

    Raises:
        MissingExtra: it is not installed.
    """
    loaded: dict[str, Any] = sys.modules
    silenced = TELEMETRY not in loaded
    if silenced:
        loaded[TELEMETRY] = None
    try:
        return require("openvino", extra="openvino", purpose="the target openvino")
    finally:
        if silenced:
            del loaded[TELEMETRY]
