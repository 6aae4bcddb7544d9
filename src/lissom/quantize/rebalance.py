"""Choose factors for the channels of a graph, chain by chain, and keep them only if they pay."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from lissom.graph.edit import Editor, tidy
from lissom.quantize.chains import SCALED, Chains, Reader, find_chains, rescale
from lissom.quantize.channels import Shapes
from lissom.quantize.following import Following
from lissom.quantize.scale_choice import Sample, balanced, noise, products
from lissom.quantize.scale_samples import Reached, channel_reach, least_factors, passes, sampled
from lissom.quantize.trial import Trial, gain_of
from lissom.quantize.weight_range import WeightGrid
from lissom.technique import Context

Factors = NDArray[np.float64]

# What a set of factors must gain at the output to be kept, in dB, luck set aside.
LEAST_GAIN = 0.1
# Chains that gain at least this many dB in their own layers are tried together.
GAINS = (0.1, 1.0, 3.0, 6.0)
# What the graph must still compute in float, in dB: far above any quantization.
EXACT = 50.0


@dataclass(frozen=True)
class Move:
    """The best factors that were found for one chain.

    Attributes:
        numbers: of the factors.
        factors: of those numbers, from the half of the data that judges nothing. Fitted to all of
            the data they were worse: ranges, which are of all the data, then leave no channel any
            room for what was not seen (all-MiniLM-L6-v2: 23.8 dB, so: 24.9).
        alpha: the strength they were found at, None for those of another rule.
        gain: what they gain in the layers that read the chain, dB.
    """

    numbers: NDArray[np.intp]
    factors: Factors
    alpha: float | None
    gain: float


@dataclass(frozen=True)
class Search:
    """How factors are searched.

    Attributes:
        alphas: strengths that are tried.
        common: as `balanced` takes it.
        margin: how far a channel must stay below the bound of a Clip.
        whole: ranges are found while running, so they are those of all data.
        following: which codes there will be.
    """

    alphas: Sequence[float]
    common: float
    margin: float
    whole: bool
    following: Following


def find_moves(
    model: ir.Model,
    chains: Chains,
    groups: Sequence[Sequence[Reader]],
    search: Search,
    context: Context,
    *,
    rule: Factors | None = None,
) -> list[Move]:
    """The factors that leave the layers reading each chain with the least error.

    Args:
        model: what the chains are in.
        chains: the chains.
        groups: the layers that read the chains to look at.
        search: what is tried besides leaving the chain as it is.
        context: its calibration data must be there.
        rule: `[count]`, factors that are tried too.
    """
    batches = context.calibration
    if not groups or batches is None:
        return []
    count = batches.count if batches.count is not None else sum(1 for _ in batches)
    readers = [reader for group in groups for reader in group]
    tensors = {reader.source: chains.tensors[reader.source] for reader in readers}
    bounded = {bound.source: bound.channels for bound in chains.bounds}
    fitted, everything = channel_reach(
        model, {**tensors, **bounded}, context.track(batches, "find channels", batches.count)
    )
    least = least_factors(chains.bounds, everything, search.margin, chains.count)
    grids = search.following.grids([reader.node for reader in readers], context)
    moves = []
    for part in passes(groups):
        samples = sampled(
            model,
            [reader for group in part for reader in group],
            everything if search.whole else fitted,
            context.track(batches, "weigh channels", batches.count),
            count,
            seed=context.seed,
        )
        for group in part:
            trials = _Trials(group, samples, grids, chains.count, least, search, rule)
            move = trials.best(fitted)
            if move is not None:
                moves.append(move)
    return moves


class _Trials:
    """The factors that one chain is tried with.

    Args:
        group: the layers that read it.
        samples: what is known of them.
        grids: which codes their weights will have.
        count: how many factors the graph has.
        least: `[count]`, factors that must not be gone below; infinite ones stay 1.
        search: what is tried.
        rule: `[count]`, factors that are tried too.
    """

    def __init__(
        self,
        group: Sequence[Reader],
        samples: Mapping[ir.Node, Sample],
        grids: Mapping[ir.Node, WeightGrid],
        count: int,
        least: Factors,
        search: Search,
        rule: Factors | None,
    ) -> None:
        numbers = np.unique(np.concatenate([reader.numbers for reader in group]))
        self.group, self.count, self.search = group, count, search
        self.numbers = numbers[numbers > 0]
        self.least = least[self.numbers]
        self.rule = None if rule is None else rule[self.numbers]
        self.layers = [
            (reader.numbers, samples[reader.node], grids[reader.node]) for reader in group
        ]
        self.wanted = [products(sample.rows, sample.weight) for _, sample, _ in self.layers]
        pull = np.zeros(count)
        for channels, sample, _ in self.layers:
            np.maximum.at(pull, channels, sample.pull())
        self.pull = pull[self.numbers]

    def best(self, fitted: Reached) -> Move | None:
        """The factors with the least sum of relative errors, if it is less than as it is."""
        before = lowest = self._error(np.ones(len(self.numbers)))
        best: tuple[float | None, Factors] | None = None
        reach = self._reach(fitted)
        alphas: list[float | None] = [*self.search.alphas]
        for alpha in alphas if self.rule is None else [*alphas, None]:
            factors = self._factors(reach, alpha)
            error = self._error(factors)
            if error < lowest:
                lowest, best = error, (alpha, factors)
        if best is None:
            return None
        gain = float(10 * np.log10(before / max(lowest, before * 1e-20)))
        return Move(self.numbers, best[1], best[0], gain)

    def _factors(self, reach: Factors, alpha: float | None) -> Factors:
        """Those of one strength, or of the rule where there is none."""
        found = (
            self.rule if alpha is None else balanced(reach, self.pull, alpha, self.search.common)
        )
        assert found is not None
        # A channel that a Clip cuts stays; others may grow to where it would cut them.
        return np.where(np.isinf(self.least), 1.0, np.maximum(found, self.least))

    def _reach(self, reached: Reached) -> Factors:
        """The largest magnitude of each channel, wherever it is read."""
        found = np.zeros(self.count)
        for reader in self.group:
            extremes = reached[reader.source]
            np.maximum.at(found, reader.numbers, np.maximum(-extremes.low, extremes.high))
        reach: Factors = found[self.numbers]
        return reach

    def _error(self, factors: Factors) -> float:
        everyone = np.ones(self.count)
        everyone[self.numbers] = factors
        symmetric = self.search.following.symmetric
        return sum(
            noise(sample, wanted, everyone[channels], grid, symmetric=symmetric)
            for (channels, sample, grid), wanted in zip(self.layers, self.wanted, strict=True)
        )


def scaled(model: ir.Model, shapes: Shapes, factors: Factors) -> ir.Model:
    """A copy of a graph whose channels are scaled."""
    copy = model.clone()
    before = set(copy.graph.initializers)
    rescale(Editor(copy), find_chains(copy, shapes), factors)
    tidy(copy)
    name_back(copy, before)
    return copy


def name_back(model: ir.Model, before: Collection[str]) -> None:
    """Give constants that were scaled the names of what they replace: settings go by them.

    Args:
        model: after `rescale`, without what nothing reads.
        before: names of its initializers before.
    """
    known = model.graph.initializers
    for value in [value for name, value in known.items() if name not in before]:
        first, _, _ = (value.name or "").rpartition(SCALED)
        if first in before and first not in known:
            value.name = first


def keep_best(
    model: ir.Model,
    moves: Sequence[Move],
    count: int,
    make: Callable[[Factors], ir.Model],
    trial: Trial,
) -> tuple[ir.Model, list[Move], float]:
    """The graph with those moves that gain most at its output after quantization, or none.

    Sets are nested: all moves, those that gain a decibel or more in their own layers, and so on.

    Returns:
        The graph (the very same where nothing pays), the moves in it, and the gain in dB, as
        `gain_of` has it.
    """
    if not moves:
        return model, [], 0.0
    before = trial.noise(model, plain=True)
    best: tuple[ir.Model, list[Move], float] = (model, [], 0.0)
    tried: set[int] = set()
    for least in GAINS:
        chosen = [move for move in moves if move.gain >= least]
        if not chosen or len(chosen) in tried:
            continue
        tried.add(len(chosen))
        candidate = make(factors_of(chosen, count))
        if trial.difference(candidate) < EXACT:
            continue
        gain = gain_of(before, trial.noise(candidate, plain=True))
        if gain > max(LEAST_GAIN, best[2]):
            best = candidate, chosen, gain
    found, kept, gain = best
    if not kept or (gain := trial.proven(model, found, gain)) <= LEAST_GAIN:
        return model, [], 0.0
    return found, kept, gain


def factors_of(moves: Sequence[Move], count: int) -> Factors:
    """All factors `[count]`, 1 where nothing moves."""
    factors = np.ones(count)
    for move in moves:
        factors[move.numbers] = move.factors
    return factors
