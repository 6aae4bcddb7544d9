"""The outputs' error on a processor that adds in pairs of 16 bits, told on one that does not."""

from __future__ import annotations

from lissom.diagnosis.cut import Network
from lissom.diagnosis.running import Running
from lissom.quantize.output_error import RelativeError, largest


def emulated_error(first: Network, running: Running) -> float:
    """Relative squared error of the outputs with what saturates lost, the largest output's.

    Args:
        first: the original.
        running: the compressed network and the samples.
    """
    plain = first.between((), list(running.given)).session({})
    sums = {name: RelativeError() for name in running.given}
    for batch, answer in zip(running.samples, running.outputs(), strict=True):
        for name, truth in plain(batch).items():
            sums[name].add(truth, answer[name])
    return largest(each.relative for each in sums.values())
