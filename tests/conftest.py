"""What all tests share: quiet TensorFlow on two logical devices, a clean gin, real data if there is some."""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest

# Before numpy and TensorFlow are imported. Several test processes share the cores, so each keeps to itself; and a
# GPU is hidden, because what the tests compare to the last bit was written down on a CPU. SPOUT_TEST_GPU=1 shows it.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["MPLBACKEND"] = "Agg"
if os.environ.get("SPOUT_TEST_GPU") != "1":
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


class _ConfigureTensorFlow(importlib.abc.MetaPathFinder):
    """Configures TensorFlow when the first test imports it: later is too late, and most tests never need it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_configure(module: ModuleType) -> None:
            execute(module)
            _configure(module)

        spec.loader.exec_module = execute_and_configure  # type: ignore[method-assign]
        return spec


def _configure(tf: ModuleType) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    tf.get_logger().setLevel("ERROR")


sys.meta_path.insert(0, _ConfigureTensorFlow())


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Files' bytes may hold the time at which they were made; the processes must give a case the same name."""
    del config
    return argname if isinstance(val, bytes) else None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Modules stay until the end: garbage need not be looked for among them, which takes most of the time of it."""
    del session
    gc.collect()
    gc.freeze()


_COLLECT_AFTER = 200 * 2**20
"""Bytes by which a process may grow before garbage is looked for."""


class _Memory:
    """Frees models and graphs, which hold each other in circles: Python counts them, but not how large they are."""

    _statistics = Path("/proc/self/statm")

    def __init__(self) -> None:
        self._before: int | None = None

    def _resident(self) -> int:
        return int(self._statistics.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def free(self) -> None:
        """Collects garbage if the process has grown much since the last time; where that can be known."""
        if not self._statistics.is_file():
            return
        if self._before is None or self._resident() > self._before + _COLLECT_AFTER:
            gc.collect()
            self._before = self._resident()


_MEMORY = _Memory()


def _forget() -> None:
    """Undoes what one test may leave behind for the next in this process."""
    gin = sys.modules.get("gin")
    if gin is not None and hasattr(gin, "clear_config"):
        gin.clear_config()
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "config"):
        keras.config.set_dtype_policy("float32")


@pytest.fixture(autouse=True)
def _fresh_globals() -> Iterator[None]:
    _forget()
    yield
    _forget()
    _MEMORY.free()


@pytest.fixture(scope="session")
def raw_dir() -> Path:
    """The folder with real data files, from SPOUT_RAW_DIR; without one the test is skipped."""
    folder = os.environ.get("SPOUT_RAW_DIR")
    if not folder:
        pytest.skip("needs real data: SPOUT_RAW_DIR is not set")
    if not Path(folder).is_dir():
        pytest.fail(f"SPOUT_RAW_DIR={folder} is not a folder")
    return Path(folder)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run folder that is not there yet."""
    return tmp_path / "run"
