"""A diagnosis that nobody measured: sixty layers of which four have a fault each."""

from __future__ import annotations

import math

from lissom.report.diagnosis import Channels, Diagnosis, Grid, LayerError, Parts, Verdict

BELL = tuple(round(10_000 * math.exp(-(((at - 31.5) / 9) ** 2) / 2)) for at in range(64))
FAULTS = {7: "clipping", 19: "weights", 30: "saturation", 44: "bias"}
SHARES = {7: 0.41, 19: 0.23, 30: 0.12, 44: 0.08}


def layer(number: int, *, name: str = "", share: float | None = None) -> LayerError:
    """A healthy layer 40 dB below its signal, or one of the faulty ones."""
    fault = FAULTS.get(number)
    added = 1e-4 * (60 if fault else 1)
    parts = {"weights": 0.3e-4, "rounding": 0.6e-4}
    if fault:
        parts[fault] = 0.9 * added
    seen = 3.0 if fault != "clipping" else 9.0
    return LayerError(
        name=name or f"blocks.{number // 6}.conv{number % 6}",
        op_type="Conv",
        output=f"t{number}",
        added=added,
        accumulated=1e-4 * (number + (60 if number >= 7 else 0)),
        share=SHARES.get(number, 0.16 / 56) if share is None else share,
        parts=Parts(**parts),
        channels=(
            Channels(axis="output", count=96, worst=(40, 3, 90), spread=38.0)
            if fault == "weights"
            else Channels(axis="activation", count=32, worst=(1,), spread=1.4),
        ),
        grid=Grid(
            low=-seen,
            high=seen,
            counts=BELL,
            clip_low=-3.0,
            clip_high=2.98,
            clipped=0.0131 if fault == "clipping" else 0.0,
        ),
        weight_bits=8,
    )


def diagnosis() -> Diagnosis:
    layers = tuple(layer(number) for number in range(1, 61))
    clipped, weights = layers[6].name, layers[18].name
    return Diagnosis(
        original="net.onnx",
        compressed="net.int8.onnx",
        inputs="256 of 10,000 validation samples, drawn at random (seed 0)",
        samples=256,
        output_error=0.0074,
        pair_sums=True,
        layers=layers,
        unmatched=(
            *((f"head.{at}", "it was fused away") for at in range(6)),
            ("pool", "two tensors fit"),
        ),
        verdicts=(
            Verdict(
                layer=clipped,
                cause="clipping",
                share=0.41,
                words=f"{clipped}: 41% of the output's error; 1.31% of the values it reads are cut",
                remedy="calibrate with data like these",
                technique="quantize.static",
                config={"per_layer": [{"match": clipped, "observer": "minmax"}]},
                gain=0.37,
            ),
            Verdict(
                layer=weights,
                cause="weights",
                share=0.23,
                words=f"{weights}: 23% of the output's error; 3 of 96 channels hold the range",
                remedy="quantize.equalize before quantize.static",
                technique="quantize.equalize",
            ),
            Verdict(layer=None, cause="slow", share=None, words="pool: does not fuse"),
        ),
        quality="accuracy 0.912 -> 0.861, drop 5.10 pt [3.20, 7.00], 256 samples",
    )
