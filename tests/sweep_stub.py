"""Stands in for `run.py` as a member of a sweep: what a run leaves, in milliseconds and without TensorFlow.

Its score is a function of its bindings. A beta of 0.3 fails, one of 0.5 waits for SIGTERM.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    """Leaves what a run leaves."""
    flags = [argument[2:].partition("=") for argument in sys.argv[1:]]
    folder = Path(next(value for name, _, value in flags if name == "run_dir"))
    plan = json.loads((folder.parent / "sweep.json").read_text())
    entry = next(entry for entry in plan["members"] if entry["name"] == folder.name)
    options = {**plan["common_options"], **entry["options"]}
    beta, seed = options["experiment.model.beta"], options["experiment.seed"]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    print(json.dumps({"cores": cores, "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), "flags": sys.argv[1:]}))
    if beta == 0.3:
        print("error: beta is out of luck", file=sys.stderr)
        return 2
    folder.mkdir(exist_ok=True)
    (folder / "options.json").write_text(json.dumps(options))
    if beta == 0.5:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        (folder / "waits").touch()
        time.sleep(60)
    (folder / "report.html").write_text("<html>")
    result = {
        "run_dir": str(folder),
        "step": options["experiment.total_steps"],
        "data": "dsprites_synthetic",
        "data_source": "synthetic",
        "scores": {"ibgan_factor_vae": beta + seed**2 / 100},
        "snapshots": {"middle": {"step": 1, "scores": {"mig": beta / 10}}},
        "fingerprint": hashlib.sha256(f"{beta} {seed}".encode()).hexdigest(),
    }
    (folder / "result.json").write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
