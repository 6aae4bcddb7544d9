"""Python that runs a saved artifact, to be copied from the report."""

from __future__ import annotations

from collections.abc import Sequence

from lissom.measure.records import Settings
from lissom.model import Model
from lissom.onnx_file import TensorSpec

TOKENIZER = "tokenizer.json"

TEXT = """\
import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

session = ort.InferenceSession("model.onnx")
tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.enable_padding()
encoded = tokenizer.encode_batch(["The first sentence.", "Another one."])
tokens = {
    "input_ids": np.array([e.ids for e in encoded]),
    "attention_mask": np.array([e.attention_mask for e in encoded]),
    "token_type_ids": np.array([e.type_ids for e in encoded]),
}
names = {i.name for i in session.get_inputs()}
outputs = session.run(None, {name: tokens[name] for name in tokens if name in names})
print(outputs[0].shape)
"""


def snippet_for(inputs: Sequence[TensorSpec], settings: Settings, model: Model) -> str:
    """A program that loads `model.onnx` from the artifact's folder and runs it once."""
    if has_tokenizer(model):
        return TEXT
    lines = [
        "import numpy as np",
        "import onnxruntime as ort",
        "",
        'session = ort.InferenceSession("model.onnx")',
        "outputs = session.run(None, {",
    ]
    for spec in inputs:
        shape = settings.shapes.get(spec.name) or tuple(
            size if isinstance(size, int) else settings.batch for size in spec.shape
        )
        lines.append(f"    {spec.name!r}: np.zeros({tuple(shape)}, {spec.dtype!r}),")
    return "\n".join([*lines, "})", "print([output.shape for output in outputs])", ""])


def has_tokenizer(model: Model) -> bool:
    """Whether the model's folder brings a tokenizer that the artifact should bring too."""
    return model.folder is not None and (model.folder / TOKENIZER).is_file()
