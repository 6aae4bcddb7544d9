"""What the reader of each guide has before the first line: small models, and data that fit them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import safetensors.numpy

from lissom.storage import second_reader
from tests import models
from tests.nn.conftest import sentence_encoder

CLASSES = ("airplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
WORDS = [
    "a",
    "an",
    "the",
    "man",
    "woman",
    "dog",
    "cat",
    "is",
    "plays",
    "runs",
    "sleeps",
    "eats",
    "guitar",
    "piano",
    "slowly",
    "fast",
]


def a_model_and_rows(folder: Path) -> None:
    """`model.onnx`, 16 features to 5 logits, and `rows.npy` as it was fed with until today."""
    models.saved(models.mlp(hidden=512), folder / "model.onnx")
    rows = np.random.default_rng(1).normal(size=(400, 16)).astype(np.float32)
    np.save(folder / "rows.npy", rows)


def a_classifier_and_photos(folder: Path) -> None:
    """`classifier.onnx`, and `photos/CLASS/*.png`, most of which it gets right."""
    image = pytest.importorskip("PIL.Image")
    path = models.saved(models.depthwise(), folder / "classifier.onnx")
    random = np.random.default_rng(2)
    pixels = random.integers(0, 256, (120, 4, 4, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    scaled = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    session = ort.InferenceSession(path)
    (logits,) = session.run(None, {"image": scaled.transpose(0, 3, 1, 2).astype(np.float32)})
    for name in CLASSES:
        (folder / "photos" / name).mkdir(parents=True)
        (folder / "unsorted").mkdir(exist_ok=True)
    for number, (picture, answer) in enumerate(zip(pixels, logits.argmax(axis=1), strict=True)):
        # A few lie in the wrong folder, so that the accuracy is not that of a tautology.
        name = CLASSES[answer if number % 8 else number % 10]
        image.fromarray(picture).save(folder / "photos" / name / f"{number:03}.png")
        image.fromarray(picture).save(folder / "unsorted" / f"{number:03}.png")


def an_encoder_and_pairs(folder: Path) -> None:
    """`encoder/`, a tiny sentence encoder, `pairs.tsv` with scores, and `sentences.txt`."""
    tokenizers = pytest.importorskip("tokenizers")
    encoder = folder / "encoder"
    encoder.mkdir()
    sentence_encoder(encoder, {"pooling_mode_mean_tokens": True})
    transformers = pytest.importorskip("transformers")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = {word: at for at, word in enumerate([*special, *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=32,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(encoder)
    random = np.random.default_rng(3)
    lines = ["score\tsentence1\tsentence2"]
    for _ in range(160):
        first, second = (" ".join(random.choice(WORDS, random.integers(3, 9))) for _ in range(2))
        shared = len({*first.split()} & {*second.split()})
        lines.append(f"{shared}\t{first}\t{second}")
    (folder / "pairs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    texts = [line.split("\t")[1] for line in lines[1:]]
    (folder / "sentences.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")


def a_model_and_data(folder: Path) -> None:
    """`model.onnx` and `data.npz`, as the first guide made it."""
    a_model_and_rows(folder)
    np.savez(folder / "data.npz", input=np.load(folder / "rows.npy"))


def a_model_and_a_checkpoint(folder: Path) -> None:
    """`model.onnx`, the folder `checkpoint`, and the archive's second reader."""
    models.saved(models.mlp(hidden=512), folder / "model.onnx")
    (folder / "checkpoint").mkdir()
    embedding = np.random.default_rng(1).normal(size=(50, 64)).astype(np.float16)
    safetensors.numpy.save_file({"embedding": embedding}, folder / "checkpoint" / "a.safetensors")
    (folder / "checkpoint" / "config.json").write_text("{}")
    shutil.copy(second_reader.__file__, folder)


def nothing(folder: Path) -> None:
    """The page itself says everything."""


OF: dict[str, Callable[[Path], None]] = {
    "archive": a_model_and_a_checkpoint,
    "onnx-file": a_model_and_rows,
    "image-folder": a_classifier_and_photos,
    "hugging-face": an_encoder_and_pairs,
    "own-pytorch": nothing,
    "report": a_model_and_data,
    "intervals": a_model_and_data,
}
