"""Verdicts about time: layers that quantization made slower, clearly and worth a word."""

from __future__ import annotations

from collections.abc import Iterator

from lissom.diagnosis.remedies import kept_float
from lissom.report.diagnosis import LayerTime, Times, Verdict
from lissom.report.diagnosis_words import milliseconds

# Of a run of the original, from which on a difference is worth a word.
NOTABLE = 0.01
# Layers that are told of, those that cost most first.
TOLD = 5


def slow(times: Times) -> Iterator[Verdict]:
    """Layers that the compressed file runs slower than the original.

    Only those that were slower whenever the files were opened anew; of n openings all agree by
    chance once in 2^(n - 1).
    """
    least = NOTABLE * times.original
    taken: set[str] = set()
    told = 0
    for layer in sorted(times.layers, key=_order):
        low, middle, _ = layer.difference
        if layer.name in taken or not (low > 0 and middle >= least):
            continue
        taken.update((layer.name, *layer.fused))
        if layer.runs not in ("integer", "codes") and not layer.why:
            # Float in both files: what is between is the machine's doing.
            continue
        verdict = _unfused(layer, times) if layer.why else _slower(layer, least)
        if verdict is not None and told < TOLD:
            told += 1
            yield verdict


def _order(layer: LayerTime) -> tuple[float, bool, str]:
    """By what a layer costs; of layers that are compared together the one with weights first."""
    return -layer.difference[1], layer.bytes is None, layer.name


def _unfused(layer: LayerTime, times: Times) -> Verdict:
    remedy = kept_float(layer.name, layer, layer.fix)
    return Verdict(
        layer=layer.name,
        cause="slow",
        share=None,
        words=f"{_named(layer)}: its quantization does not fuse ({layer.why}) and costs "
        f"{milliseconds(layer.difference[1])} of a run of {milliseconds(times.compressed)}",
        remedy=remedy.words,
        technique=remedy.technique,
        config=remedy.config,
        ms=remedy.ms,
        bytes=remedy.bytes,
    )


def _slower(layer: LayerTime, least: float) -> Verdict | None:
    """None where keeping it float was tried and brings nothing, for conversions take it again."""
    tried = layer.kept_float
    if tried is not None and (tried[1] > -least or tried[2] >= 0):
        return None
    remedy = kept_float(layer.name, layer)
    now = layer.compressed + layer.conversions
    before = f"{milliseconds(now)} against {milliseconds(layer.original)}"
    if layer.fused:
        before = f"{milliseconds(layer.difference[1])} longer"
    return Verdict(
        layer=layer.name,
        cause="slow",
        share=None,
        words=f"{_named(layer)} is slower than its float form: {before}",
        remedy=remedy.words,
        technique=remedy.technique,
        config=remedy.config,
        ms=remedy.ms,
        bytes=remedy.bytes,
    )


def _named(layer: LayerTime) -> str:
    """With the layers that it is compared together with."""
    return f"{layer.name} with {', '.join(layer.fused)}" if layer.fused else layer.name
