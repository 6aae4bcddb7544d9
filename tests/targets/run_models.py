"""Run every model of a folder and keep its first output: all that an emulated interpreter does.

Usage: run_models.py FOLDER THREADS [exact]. Next to NAME.onnx lies NAME.npz with its inputs.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

options = ort.SessionOptions()
options.intra_op_num_threads = int(sys.argv[2])
options.log_severity_level = 4
if "exact" in sys.argv:
    options.add_session_config_entry("session.x64quantprecision", "1")
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    with np.load(path.with_suffix(".npz")) as feeds:
        np.save(path.with_suffix(".npy"), session.run(None, dict(feeds))[0])
