"""Python that runs a saved artifact, to be copied from the report."""

from __future__ import annotations

from collections.abc import Mapping

from lissom.arrays import Array
from lissom.artifact import TOKENIZER, companions
from lissom.model import Model
from lissom.targets.named import DEFAULT

# How a runtime opens a file called `session` and runs it on a dict.
OPEN = {
    "onnxruntime": ("import onnxruntime as ort", "session = ort.InferenceSession({file!r})"),
    # Without the hint it may compute in bfloat16 or float16, which was not measured.
    "openvino": (
        "import openvino",
        'session = openvino.compile_model({file!r}, "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})',
    ),
}
RUN = {"onnxruntime": ("session.run(None, {", "})"), "openvino": ("list(session({", "}).values())")}
TEXT = """\
import numpy as np
{imported}
from tokenizers import Tokenizer

{opened}
tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.enable_padding()
encoded = tokenizer.encode_batch(["The first sentence.", "Another one."])
outputs = {begin}
{tokens}
{end}
print(outputs[0].shape)
"""
# The inputs a tokenizer gives, and where its encodings keep them.
ENCODED = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


def snippet_for(
    feeds: Mapping[str, Array],
    model: Model,
    file: str = "model.onnx",
    runtime: str = DEFAULT,
) -> str:
    """A program that loads a model file from the folder it stands in and runs it once.

    Args:
        feeds: inputs as they were timed: the program uses their names, types and shapes.
        model: where a tokenizer may lie.
        file: the file's name.
        runtime: the one that runs it.
    """
    imported, opened = (line.format(file=file) for line in OPEN[runtime])
    begin, end = RUN[runtime]
    if has_tokenizer(model) and set(feeds) <= set(ENCODED):
        tokens = (
            f"    {name!r}: np.array([e.{ENCODED[name]} for e in encoded], {str(array.dtype)!r}),"
            for name, array in feeds.items()
        )
        return TEXT.format(
            imported=imported, opened=opened, begin=begin, end=end, tokens="\n".join(tokens)
        )
    lines = [
        "import numpy as np",
        imported,
        "",
        opened,
        f"outputs = {begin}",
        *(f"    {name!r}: {_made_up(name, array)}," for name, array in feeds.items()),
        end,
        "print([getattr(output, 'shape', output) for output in outputs])",
        "",
    ]
    return "\n".join(lines)


def has_tokenizer(model: Model) -> bool:
    """Whether the model's folder brings a tokenizer that the artifact should bring too."""
    return TOKENIZER in companions(model)


def _made_up(name: str, array: Array) -> str:
    """An expression for an input of that shape; all zeros, but a mask that hides nothing."""
    if array.dtype.kind in "US":
        return f"np.full({array.shape}, 'text')"
    fill = "ones" if "mask" in name.lower() else "zeros"
    return f"np.{fill}({array.shape}, {str(array.dtype)!r})"
