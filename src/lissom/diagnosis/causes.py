"""The error that is added at one layer, split by what makes it; running sums over batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lissom.diagnosis.channel_axis import made_axis, read_axis
from lissom.diagnosis.channel_ranges import weight_channels, widest_channels
from lissom.diagnosis.few_samples import on_few, sample_count
from lissom.diagnosis.kernel import IntegerKernel
from lissom.diagnosis.section import Section
from lissom.quantize.affine import along
from lissom.quantize.histogram import Histogram
from lissom.report.diagnosis import Channels, Grid, Parts

Array = NDArray[Any]
# Bins of a histogram that is shown.
SHOWN = 64
TINY = 1e-30
# The causes but saturation, which is emulated on some of the samples.
COUNTED = ("weights", "rounding", "clipping", "bias", "activation")
# What is larger is a mask's, minus infinity for a Softmax, and no signal.
LARGEST = 1e18
# Products that are emulated for one layer, and samples of one batch.
EMULATED, MOST_SAMPLES = 2 * 10**8, 8


class Sums:
    """What is summed up at one layer over the batches.

    Attributes:
        section: the layer.
        kernel: its integer kernel if it can saturate.
        counted: whether what the kernel loses belongs to the added error.
        power: sum of squares of the original's tensor.
        total: sum of squared added errors.
        mean_error, mean_count: sum of the added errors of every channel, and how many they are in
            all; one sum for all where there are no channels.
        widest: the largest magnitude of every channel of the input, or of all where it has none.
        alone: sums of squared errors that each cause makes alone.
    """

    def __init__(self, section: Section, kernel: IntegerKernel | None, *, counted: bool) -> None:
        self.section, self.kernel, self.counted = section, kernel, counted
        self.power = self.total = 0.0
        self.alone = dict.fromkeys(COUNTED, 0.0)
        self.mean_error: Array | None = None
        self.mean_count = 0
        self.widest: Array | None = None
        self.histogram = Histogram()
        self.beyond = self.seen = 0
        self.offset: Array | None = None
        # Of the samples on which the kernel is emulated.
        self.lost = self.lossy = self.lossy_power = 0.0
        self.work = 0

    # Masks are infinite in both networks, and no difference.
    @np.errstate(invalid="ignore")
    def add(self, values: Mapping[str, Array]) -> None:
        """Take in a batch of the original's tensors."""
        section = self.section
        truth = np.asarray(values[section.matched.tensor], np.float32)
        feeds = section.feeds(values)
        layer, entry, root = section.layer, section.entry, section.root
        exact = section.run(feeds, rounding=False, clipping=False)
        plain = both = _as(exact[root], truth)
        if not section.is_exact:
            both = _as(section.run(feeds, rounding=True, clipping=True)[root], truth)
            rounded, clipped = both, plain
            if section.clips(feeds):
                rounded = _as(section.run(feeds, rounding=True, clipping=False)[root], truth)
                clipped = _as(section.run(feeds, rounding=False, clipping=True)[root], truth)
            self.alone["rounding"] += power(rounded - plain)
            self.alone["clipping"] += power(clipped - plain)
        right = plain if layer is None or layer.looks_up else self._with_bias(exact, feeds, truth)
        bounded = section.bounded(right)
        self.alone["weights"] += power(bounded - truth)
        self.alone["activation"] += power(right - bounded)
        self.alone["bias"] += power(plain - right)
        self.power += power(truth)
        self.total += power(both - truth)
        self._note_mean(both - truth)
        if entry is not None:
            self._note_input(exact)
        self._emulate(feeds, truth, exact[root].shape)

    def _with_bias(
        self, exact: Mapping[str, Array], feeds: Mapping[str, Array], truth: Array
    ) -> Array:
        """The layer's result with the original's bias in place of the stored one."""
        section = self.section
        assert section.layer is not None
        plain = _as(exact[section.root], truth)
        if self.offset is None:
            stored = section.at_zero(feeds, exact[section.layer.data])
            self.offset = self._offset(stored)
        end = exact[section.layer.end]
        if not np.any(self.offset):
            return plain
        moved = end - self.shift_of_bias(end.ndim)
        right = _as(section.onward(section.layer.end, moved.astype(end.dtype), feeds), truth)
        # A bias that stands elsewhere in one of the two networks is none that differs.
        return right if power(right - truth) <= power(plain - truth) else plain

    def shift_of_bias(self, rank: int) -> Array:
        """How far the stored bias moves the layer's result, to broadcast with it."""
        section, offset = self.section, self.offset
        assert offset is not None
        scaled = section.matched.scaling
        if scaled is not None and offset.shape == scaled.factor.shape:
            offset = offset * scaled.factor
        axis = self._axis_of_sums(rank)
        return offset if axis is None or offset.size == 1 else along(offset, axis, rank)

    def _axis_of_sums(self, rank: int) -> int | None:
        """Where the channels of the layer's result lie before its activation."""
        layer = self.section.layer
        assert layer is not None
        return made_axis(self.section.part.network, layer.end, rank)

    def _offset(self, stored: Array) -> Array:
        """How far the stored bias is from the original's, for each channel."""
        section = self.section
        axis = self._axis_of_sums(stored.ndim)
        others = tuple(at for at in range(stored.ndim) if at != axis)
        stored = np.asarray(stored.mean(axis=others, dtype=np.float64))
        bias = section.matched.anchor.bias
        if bias is not None and bias.size not in (1, stored.size):
            return np.zeros(())
        scaled = section.matched.scaling
        if scaled is not None and stored.shape == scaled.factor.shape:
            stored = (stored - scaled.offset) / scaled.factor
        wanted = np.zeros(()) if bias is None else np.asarray(bias, np.float64).reshape(-1)
        offset: Array = stored - wanted
        # What is left of int32 codes of a bias is theirs, what is less is float arithmetic.
        return np.where(np.abs(offset) > 1e-6 * np.abs(stored), offset, 0.0)

    def _emulate(self, feeds: Mapping[str, Array], truth: Array, shape: tuple[int, ...]) -> None:
        """What the kernel loses, on a few samples of the first batches."""
        if self.kernel is None or self.work > EMULATED or not truth.ndim or not truth.size:
            return
        count = sample_count(feeds) or 1
        each = self.kernel.work() * truth.size // (count * len(self.kernel.weight))
        samples = int(np.clip((EMULATED - self.work) // max(1, each), 1, MOST_SAMPLES))
        section = self.section
        found, fed, some = on_few(section, feeds, truth, samples, shape)
        self.work += each * count * some.size // truth.size + 1
        both = _as(found[section.root], some)
        lossy = _as(saturated(section, self.kernel, found, fed), some)
        self.lost += power(lossy - both)
        self.lossy += power(lossy - some)
        self.lossy_power += power(some)

    def _note_mean(self, error: Array) -> None:
        axis = made_axis(self.section.part.network, self.section.root, error.ndim)
        others = tuple(at for at in range(error.ndim) if at != axis)
        sums = np.asarray(error.sum(axis=others, dtype=np.float64))
        if self.mean_error is not None and self.mean_error.shape != sums.shape:
            # As many as there are samples, or moments of time: no channels, which stay the same.
            sums, self.mean_error = np.asarray(sums.sum()), np.asarray(self.mean_error.sum())
        self.mean_error = sums if self.mean_error is None else self.mean_error + sums
        self.mean_count += error.size

    def _note_input(self, found: Mapping[str, Array]) -> None:
        section, entry = self.section, self.section.entry
        assert entry is not None
        network, layer = section.part.network, section.layer
        # Masks hold numbers that squares and steps do not.
        data = np.clip(np.asarray(found[entry.source], np.float32), -LARGEST, LARGEST)
        self.histogram.observe(data)
        if layer is None or layer.looks_up:
            axis = made_axis(network, entry.source, data.ndim)
        else:
            rank = found[layer.data].ndim
            axis = read_axis(layer, network, entry.source, data.ndim, rank)
        others = tuple(at for at in range(data.ndim) if at != axis)
        widest = np.asarray(np.abs(data).max(axis=others, initial=0.0))
        if self.widest is not None and self.widest.shape != widest.shape:
            widest, self.widest = np.asarray(widest.max()), np.asarray(self.widest.max())
        self.widest = widest if self.widest is None else np.maximum(self.widest, widest)
        if entry.low is not None and entry.high is not None and entry.scale is not None:
            low, high = entry.low - entry.scale / 2, entry.high + entry.scale / 2
            self.beyond += int(np.count_nonzero(data < max(low, -LARGEST)))
            self.beyond += int(np.count_nonzero(data > min(high, LARGEST)))
            self.seen += data.size

    @property
    def added(self) -> float:
        """Relative squared error made here."""
        if self.counted and self.lossy_power:
            return self.lossy / max(self.lossy_power, TINY)
        return self.total / max(self.power, TINY)

    def parts(self) -> Parts:
        """The error by cause."""
        whole = max(self.power, TINY)
        shift = 0.0
        if self.mean_error is not None:
            each = max(self.mean_count, 1) / max(self.mean_error.size, 1)
            shift = power(self.mean_error / each) * each / whole
        return Parts(
            **{name: value / whole for name, value in self.alone.items()},
            saturation=self.lost / max(self.lossy_power, TINY),
            shift=shift,
        )

    def channels(self) -> tuple[Channels, ...]:
        """Channels that hold the ranges of weight and input."""
        found: list[Channels] = []
        section = self.section
        if section.layer is not None:
            found += weight_channels(section.layer, section.part.network)
        if self.widest is not None and self.widest.ndim:
            found.append(widest_channels("activation", self.widest))
        return tuple(each for each in found if each.count > 1)

    def grid(self) -> Grid | None:
        """The range of codes of the layer's input beside what was seen of it."""
        entry = self.section.entry
        if entry is None or entry.bits > 8:
            return None
        low, high = self.histogram.low, self.histogram.high
        clip_low = min(low, 0.0) if entry.low is None else entry.low
        clip_high = max(high, 0.0) if entry.high is None else entry.high
        return Grid(
            low=low,
            high=high,
            counts=shown(self.histogram),
            clip_low=clip_low,
            clip_high=clip_high,
            bits=entry.bits,
            clipped=self.beyond / max(self.seen, 1),
            dynamic=bool(entry.zero),
        )


def shown(histogram: Histogram) -> tuple[int, ...]:
    """Counts in SHOWN equal bins between the extremes."""
    low, high = histogram.low, histogram.high
    if not histogram.finite or high <= low:
        return (int(histogram.counts.sum()) + histogram.zeros,)
    middles = (histogram.edges[:-1] + histogram.edges[1:]) / 2
    places = np.clip((middles - low) / (high - low) * SHOWN, 0, SHOWN - 1).astype(np.intp)
    counts = np.bincount(places, weights=histogram.counts, minlength=SHOWN)
    zero = int(np.clip((0.0 - low) / (high - low) * SHOWN, 0, SHOWN - 1))
    counts[zero] += histogram.zeros
    return tuple(int(count) for count in counts)


def saturated(
    section: Section,
    kernel: IntegerKernel,
    found: Mapping[str, Array],
    feeds: Mapping[str, Array],
) -> Array:
    """The layer's result with what its kernel loses."""
    assert section.layer is not None
    start = section.layer.result
    bare = found[start]
    loss = kernel.loss(section, found).reshape(bare.shape)
    return section.onward(start, (bare + loss).astype(bare.dtype), feeds)


def power(array: Array) -> float:
    """Sum of squares, masks left out."""
    flat = np.asarray(array, np.float64).reshape(-1)
    if flat.size and not np.abs(flat).max() < LARGEST:
        flat = flat[np.abs(flat) < LARGEST]
    return float(flat @ flat)


def _as(array: Array, like: Array) -> Array:
    return np.asarray(array, np.float32).reshape(like.shape)
