"""What a run was computed with: versions, hardware, the command."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import tensorflow as tf

from common.cores import available_cores
from training.configuration import ROOT
from training.runtime import Runtime

_PACKAGES = ("tensorflow", "keras", "numpy", "gin-config", "tensorflow-datasets", "scipy", "absl-py")


def describe_environment(runtime: Runtime) -> dict[str, Any]:
    """Versions, hardware and the decisions of `runtime`, as plain data."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": available_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": [
            tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in tf.config.list_physical_devices("GPU")
        ],
        "packages": {name: _version(name) for name in _PACKAGES},
        "source_revision": _revision(),
        "command": sys.argv,
        "runtime": {
            "strategy": type(runtime.strategy).__name__,
            "replicas": runtime.replicas,
            "xla": runtime.xla,
            "precision": runtime.precision,
            "chunk_steps": runtime.chunk_steps,
            "inter_op_threads": runtime.inter_op_threads,
            "intra_op_threads": runtime.intra_op_threads,
        },
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.is_file():
        for line in cpu_info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or os.uname().machine


def _revision() -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
