"""The outputs' error on a processor that adds in pairs of 16 bits, told on one that does not."""

from __future__ import annotations

import numpy as np

from lissom.diagnosis.cut import Network
from lissom.diagnosis.running import Running

TINY = 1e-30


def emulated_error(first: Network, running: Running) -> float:
    """Relative squared error of the outputs with what saturates lost, the largest output's.

    Args:
        first: the original.
        running: the compressed network and the samples.
    """
    plain = first.between((), list(running.given)).session({})
    errors, powers = (dict.fromkeys(running.given, 0.0) for _ in range(2))
    for batch, answer in zip(running.samples, running.outputs(), strict=True):
        for name, truth in plain(batch).items():
            if truth.dtype.kind == "f":
                exact = truth.astype(np.float64)
                errors[name] += float(np.square(answer[name].reshape(truth.shape) - exact).sum())
                powers[name] += float(np.square(exact).sum())
    return max((errors[name] / max(powers[name], TINY) for name in errors), default=0.0)
