"""A tokenizer of a few words, and folders of models that have one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lissom.model import Model

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", "e", "A"]


@pytest.fixture
def tokenizer_json(tmp_path) -> Path:
    """Whole words, [CLS] before and [SEP] after; file settings (128 padded) as many models have."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(64)
    tokenizer.enable_padding(length=64)
    path = tmp_path / "encoder" / "tokenizer.json"
    path.parent.mkdir()
    tokenizer.save(str(path))
    return path


@pytest.fixture
def encoder(tokenizer_json) -> Model:
    """A Hugging Face folder, as far as a source looks: tokenizer and settings."""
    return Model("huggingface", str(tokenizer_json.parent), folder=tokenizer_json.parent)


@pytest.fixture
def configure(tokenizer_json):
    """Write a JSON file into the encoder's folder."""

    def write(name: str, **settings: object) -> None:
        (tokenizer_json.parent / name).write_text(json.dumps(settings), encoding="utf-8")

    return write
