"""Verdicts about time: layers that quantization made slower, clearly and worth a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from lissom.diagnosis.remedies import kept_float
from lissom.diagnosis.written import STATIC, Written, written
from lissom.recipe.schema import Step
from lissom.report.diagnosis import LayerError, LayerTime, Times, Verdict
from lissom.report.diagnosis_words import milliseconds

# Of a run of the original, from which on a difference is worth a word.
NOTABLE = 0.01
# Verdicts, of what costs most first; layers that one change mends are one from so many on.
TOLD, MANY = 5, 3


def slow(
    times: Times, layers: Sequence[LayerError] = (), made_by: Sequence[Step] = ()
) -> Iterator[Verdict]:
    """Layers that the compressed file runs slower than the original.

    Only those that were slower whenever the files were opened anew; of n openings all agree by
    chance once in 2^(n - 1). Many that do not fuse for one reason are told of together.

    Args:
        times: of both files.
        layers: what else is known of them, for what remedies call them.
        made_by: the steps of the recipe that made the compressed file.
    """
    forms = {each.name: written(each, layers, made_by) for each in layers}
    least = NOTABLE * times.original
    slower = list(_slower_ones(times, least))
    alike = Counter(layer.fix for layer in slower if layer.why)
    told = 0
    for layer in slower:
        form = forms.get(layer.name) or _unknown(layer, made_by)
        verdict: Verdict | None
        if not layer.why:
            verdict = _slower(layer, form, least)
        elif alike[layer.fix] >= MANY:
            group = [each for each in slower if each.why and each.fix == layer.fix]
            verdict = _unfused_alike(group, form, times) if layer is group[0] else None
        else:
            verdict = _unfused(layer, form, times)
        if verdict is not None and told < TOLD:
            told += 1
            yield verdict


def _slower_ones(times: Times, least: float) -> Iterator[LayerTime]:
    """Those that are worth a word, of layers that are compared together the first."""
    taken: set[str] = set()
    for layer in sorted(times.layers, key=_order):
        low, middle, _ = layer.difference
        if layer.name in taken or not (low > 0 and middle >= least):
            continue
        taken.update((layer.name, *layer.fused))
        # Float in both files: what is between is the machine's doing.
        if layer.runs in ("integer", "codes") or layer.why:
            yield layer


def _order(layer: LayerTime) -> tuple[float, bool, str]:
    """By what a layer costs; of layers that are compared together the one with weights first."""
    return -layer.difference[1], layer.bytes is None, layer.name


def _unknown(layer: LayerTime, made_by: Sequence[Step]) -> Written:
    """A layer without an error of its own, by its name alone."""
    plain = LayerError(name=layer.name, op_type="", output="", added=0.0, accumulated=0.0)
    return written(plain, (), made_by)


def _unfused(layer: LayerTime, form: Written, times: Times) -> Verdict:
    remedy = kept_float(form, layer, _mended(layer, form))
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


def _unfused_alike(layers: Sequence[LayerTime], form: Written, times: Times) -> Verdict:
    """Many layers that one change mends; `form` is that of the first."""
    worst = layers[0]
    cost = sum(layer.difference[1] for layer in layers)
    bits = _few_bits(form)
    return Verdict(
        layer=None,
        cause="slow",
        share=None,
        words=f"the quantization of {len(layers)} layers does not fuse and costs "
        f"{milliseconds(cost)} of a run of {milliseconds(times.compressed)}; the most "
        f"{_named(worst)} with {milliseconds(worst.difference[1])}: {worst.why}",
        remedy=_mended(worst, form),
        technique=STATIC if bits else None,
        config={"weight_bits": bits} if bits else {},
    )


def _few_bits(form: Written) -> int | None:
    """The width of weights that lissom would store so that integer kernels read them; else None.

    What quantize.mixed wrote is stored so.
    """
    bits = form.layer.weight_bits
    narrow = form.technique == STATIC and bits is not None and bits < 8
    return bits if narrow and not form.mixed else None


def _mended(layer: LayerTime, form: Written) -> str:
    """How to mend what does not fuse."""
    bits = _few_bits(form)
    if bits is None:
        return layer.fix
    return f"quantize.static with weight_bits: {bits}, which stores as few and runs as int8"


def _slower(layer: LayerTime, form: Written, least: float) -> Verdict | None:
    """None where keeping it float was tried and brings nothing, for conversions take it again."""
    tried = layer.kept_float
    if tried is not None and (tried[1] > -least or tried[2] >= 0):
        return None
    remedy = kept_float(form, layer)
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
