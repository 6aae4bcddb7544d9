"""`lissom compress MODEL` without a task, on a folder of ONNX files that lissom did not make.

    python benchmarks/zoo_models.py FOLDER      (once in each environment that has exporters)
    python benchmarks/zoo.py FOLDER --work WORK

Each file must end in a measured result or in an error that a person can act on, within the time
limit: any other ending is written into the table in capitals and makes the script fail. What was
found of a file is kept in WORK, and found again only when the file or lissom's code is another.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from publish import facts, publish, table
from zoo_models import INDEX

from lissom.code_version import code_version
from lissom.report import text
from lissom.report.results import Results, Row

HEADS = ("file", "made by", "operator set", "inputs", "size", "ended with", "seconds")
QUICK = ("--seconds", "0.5", "--processes", "1")
LIMIT = 1800.0
INTRO = """Short runs (half a second of timing in one process, beside other work), so speed-ups are
rough: what counts is that each file comes to a proper end. No task is given, so quality is not
measured and what needs data is left out. A file comes a second time, with --shape, where the sizes
it takes cannot be guessed; those whose names begin with "bad" are meant to be refused."""


@dataclass(frozen=True)
class Ending:
    """How one command ended: its one JSON document, the error text, the exit code, the time."""

    code: int
    document: dict[str, Any]
    stderr: str
    seconds: float

    @property
    def proper(self) -> bool:
        """Measured, or refused with what is wrong and what to do."""
        error = self.document.get("error", {})
        measured = self.code in (0, 1) and "original" in self.document
        refused = self.code == 2 and bool(error.get("what")) and bool(error.get("fix"))
        return (measured or refused) and "Traceback" not in self.stderr


def main() -> int:
    """Go through the folder, write the table; 1 if a file did not come to a proper end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, default=Path("zoo-work"))
    arguments = parser.parse_args()
    known = json.loads((arguments.folder / INDEX).read_text(encoding="utf-8"))
    rows, improper = [], 0
    for name in sorted(known, key=lambda name: (name.startswith("bad"), name)):
        file = arguments.folder / f"{name}.onnx"
        for options in [(), *filter(None, [tuple(known[name]["options"])])]:
            ended = _kept(
                file, options, arguments.work / "-".join([name, *options]).replace("/", "")
            )
            improper += not ended.proper
            rows.append([_title(name, options), known[name]["origin"], *_form(file), *told(ended)])
            print(" | ".join(rows[-1]), flush=True)
    versions = facts("onnxruntime", "onnx")
    publish("Models of other exporters", f"{INTRO}\n\n{versions}\n\n{table(HEADS, rows)}")
    return int(improper > 0)


def told(ended: Ending) -> list[str]:
    """The last cells of a row."""
    if not ended.proper:
        words = f"NO PROPER END, exit code {ended.code}: {ended.stderr[-300:]}"
    elif error := ended.document.get("error"):
        words = f"refused: {error['what']}. Fix: {error['fix']}"
    else:
        words = _outcome(Results.model_validate(ended.document))
    return [" ".join(words.split()).replace("|", "\\|"), f"{ended.seconds:.0f}"]


def _outcome(results: Results) -> str:
    if results.chosen is None:
        return f"measured, nothing gained: {results.sentence}"
    return f"{results.chosen.name}: {_gain(results.original, results.chosen)}"


def _gain(original: Row, row: Row) -> str:
    before, after = original.measurement.footprint.bytes, row.measurement.footprint.bytes
    speed = row.measurement.speed
    fast = "" if speed is None else f"; {text.ratio(speed.ratio.value)} the speed "
    fast += "" if speed is None else text.speed_interval(speed.ratio)
    return f"{text.size(after)}, {text.times(before / after, 'smaller')}{fast}"


def _title(name: str, options: tuple[str, ...]) -> str:
    return f"{name} {' '.join(options)}".strip()


def _form(file: Path) -> list[str]:
    """Operator set, inputs and size, as far as the file tells them."""
    beside = file.with_name(f"{file.name}.data")
    size = text.size(sum(path.stat().st_size for path in (file, beside) if path.is_file()))
    try:
        model = onnx.load(file, load_external_data=False)
    except DecodeError:
        return ["", "", size]
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [_typed(value) for value in model.graph.input if value.name not in stored]
    opset = next((str(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), "")
    return [opset, ", ".join(inputs), size]


def _typed(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    sizes = [str(d.dim_value) if d.HasField("dim_value") else "?" for d in tensor.shape.dim]
    return f"{value.name} {kind} [{', '.join(sizes)}]"


def _kept(file: Path, options: tuple[str, ...], work: Path) -> Ending:
    """How compressing a file ended, now or in an earlier run."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    key = f"{digest} {code_version()} {' '.join(options)}"
    kept = work.with_name(f"{work.name}.json")
    if kept.is_file():
        before = json.loads(kept.read_text(encoding="utf-8"))
        if before.pop("key") == key:
            return Ending(**before)
    ended = _compress(file, options, work)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"key": key, **vars(ended)}), encoding="utf-8")
    return ended


def _compress(file: Path, options: tuple[str, ...], work: Path) -> Ending:
    command = [sys.executable, "-m", "lissom", "compress", str(file), "-o", str(work)]
    started = time.monotonic()
    # In a group of its own, so that a command that hangs ends together with its workers.
    with subprocess.Popen(
        [*command, "--json", *QUICK, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return Ending(-1, {}, f"not done in {LIMIT:.0f} s", LIMIT)
    seconds = time.monotonic() - started
    try:
        document = json.loads(stdout)
    except json.JSONDecodeError:
        document = {}
    return Ending(process.returncode, document, stderr, seconds)


if __name__ == "__main__":
    sys.exit(main())
