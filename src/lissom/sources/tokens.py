"""Texts as the inputs of a model, by the tokenizer that stands beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lissom.arrays import Batch
from lissom.errors import TaskError, require
from lissom.model import Model, TensorSpec, read_json
from lissom.sources.places import folders_of

TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# What a model may do without; Task.bind leaves them out if it does.
SPARE = frozenset({"attention_mask", "token_type_ids"})

FALLBACK_LENGTH = 512
# Above this a tokenizer's model_max_length means "not known" (transformers writes 1e30).
UNLIMITED = 10**6
# Their positions start after the padding index, so that many fewer tokens fit.
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl")


@dataclass(frozen=True)
class Tokens:
    """Turns texts into a batch: int64 (texts, longest), or as the model's inputs say.

    Attributes:
        tokenizer: a `tokenizers.Tokenizer`, padding and truncation set.
        specs: the model's inputs, None while they are not known; then all of `TOKEN_INPUTS`.
        lowercase: whether the sentence encoder's configuration wants lower-case text.
    """

    tokenizer: Any = field(repr=False)
    specs: tuple[TensorSpec, ...] | None = None
    lowercase: bool = False

    def __call__(self, texts: Sequence[str]) -> Batch:
        """One batch of token ids, mask and types, padded to its longest text."""
        given = [text.lower() for text in texts] if self.lowercase else list(texts)
        encoded = self.tokenizer.encode_batch(given)
        columns = {
            "input_ids": [one.ids for one in encoded],
            "attention_mask": [one.attention_mask for one in encoded],
            "token_type_ids": [one.type_ids for one in encoded],
        }
        if self.specs is None:
            return {name: np.array(rows, dtype=np.int64) for name, rows in columns.items()}
        return {spec.name: np.array(columns[spec.name], dtype=spec.dtype) for spec in self.specs}


def open_tokens(
    model: Model, specs: tuple[TensorSpec, ...] | None, given: Path | None = None
) -> Tokens:
    """The tokenizer beside the model, or the one given (a tokenizer.json or its folder).

    Raises:
        MissingExtra: the package `tokenizers` is not installed.
        TaskError: there is no tokenizer, it is damaged, or the model takes no tokens.
    """
    _check_takes_tokens(specs)
    library = require("tokenizers", extra="hf", purpose="a task of texts")
    file = _find(model, given)
    folders = [file.parent, *folders_of(model)]
    settings = {
        name: _first_json(folders, f"{name}.json")
        for name in ("config", "tokenizer_config", "sentence_bert_config")
    }
    tokenizer = _load(library, file)
    length, fixed = _max_length(tokenizer, settings), _fixed_length(specs)
    length = min(length, fixed) if fixed else length
    pad = tokenizer.padding or {}
    pad_id, pad_token = _padding(tokenizer, settings)
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(
        direction=settings["tokenizer_config"].get("padding_side", pad.get("direction", "right")),
        pad_id=pad_id,
        pad_token=pad_token,
        pad_type_id=pad.get("pad_type_id", 0),
        length=fixed,
    )
    lowercase = settings["sentence_bert_config"].get("do_lower_case") is True
    return Tokens(tokenizer, specs, lowercase)


def _check_takes_tokens(specs: tuple[TensorSpec, ...] | None) -> None:
    if specs is None:
        return
    names = [spec.name for spec in specs]
    other = [name for name in names if name not in TOKEN_INPUTS]
    if "input_ids" in names and not other:
        return
    wrong = f"also takes {other[0]!r}" if "input_ids" in names else "has no input 'input_ids'"
    raise TaskError(
        f"a tokenizer gives {', '.join(TOKEN_INPUTS)}; the model {wrong}",
        where=f"inputs of the model: {', '.join(names)}",
        fix="make the batches yourself: a task file, --task file.py:object",
    )


def _find(model: Model, given: Path | None) -> Path:
    if given is not None:
        file = given / "tokenizer.json" if given.is_dir() else given
        if file.is_file():
            return file
        raise TaskError("there is no tokenizer file", where=str(file), fix="check --tokenizer")
    for folder in folders_of(model):
        if (folder / "tokenizer.json").is_file():
            return folder / "tokenizer.json"
    raise TaskError(
        "text needs a tokenizer, and there is no tokenizer.json beside the model",
        where=str(model.folder or model.spec),
        fix="pass --tokenizer FILE; transformers writes one: "
        "AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER)",
    )


def _load(library: Any, file: Path) -> Any:
    try:
        content = file.read_text(encoding="utf-8")
        described = json.loads(content)
    except (OSError, ValueError) as error:
        raise TaskError(f"the tokenizer cannot be read: {error}", where=str(file)) from None
    if not isinstance(described, dict) or "model" not in described:
        raise TaskError(
            "the file is JSON, but does not describe a tokenizer",
            where=str(file),
            fix="pass the tokenizer.json of the model",
        )
    try:
        return library.Tokenizer.from_str(content)
    except Exception as error:  # the library raises nothing more special
        raise TaskError(
            f"the package tokenizers {library.__version__} refuses the tokenizer: {error}",
            where=str(file),
            fix="write the file anew with this version of transformers and tokenizers",
        ) from None


def _first_json(folders: Sequence[Path], name: str) -> dict[str, Any]:
    for folder in folders:
        content = read_json(folder / name)
        if isinstance(content, dict):
            return content
    return {}


def _max_length(tokenizer: Any, settings: dict[str, dict[str, Any]]) -> int:
    """Tokens of the longest text: as the sentence encoder, the tokenizer, or the model says."""
    truncation = tokenizer.truncation or {}
    wishes = (
        settings["sentence_bert_config"].get("max_seq_length"),
        settings["tokenizer_config"].get("model_max_length"),
        truncation.get("max_length"),
    )
    known = (int(n) for n in wishes if isinstance(n, int | float) and 0 < n < UNLIMITED)
    wished = next(known, FALLBACK_LENGTH)
    config = settings["config"]
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int) or positions < 1:
        return wished
    if config.get("model_type") in OFFSET_POSITIONS:
        positions -= int(config.get("pad_token_id") or 0) + 1
    return min(wished, positions)


def _padding(tokenizer: Any, settings: dict[str, dict[str, Any]]) -> tuple[int, str]:
    """Id and text of the padding token; any will do where there is none, since it is masked."""
    pad = tokenizer.padding or {}
    if "pad_id" in pad:
        return int(pad["pad_id"]), str(pad["pad_token"])
    written = settings["tokenizer_config"].get("pad_token")
    token = written.get("content") if isinstance(written, dict) else written
    if isinstance(token, str) and (number := tokenizer.token_to_id(token)) is not None:
        return int(number), token
    number = settings["config"].get("pad_token_id")
    number = number if isinstance(number, int) and number >= 0 else 0
    return number, tokenizer.id_to_token(number) or "[PAD]"


def _fixed_length(specs: tuple[TensorSpec, ...] | None) -> int | None:
    """The sequence length, where the model takes only one."""
    for spec in specs or ():
        if spec.name == "input_ids" and len(spec.shape) == 2 and isinstance(spec.shape[1], int):
            return spec.shape[1]
    return None
