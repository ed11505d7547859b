"""Scores codes from any tool: `python -m metrics --codes file.npz`."""

from __future__ import annotations

import argparse
import json
import re
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from common.errors import UserError, near_matches, run_command
from metrics import registry
from metrics.results import MetricResult

_KEYS = ("codes", "factors", "factor_names", "discrete", "group_codes", "group_labels")

_EPILOG = """\
the file, written by numpy.savez (nothing in it is ever unpickled):
  group_codes   (M, L, D)  numbers: codes of M groups of L images; all images of a group share one factor's value
  group_labels  (M,)       integers: which factor that is
  codes         (N, D)     numbers: codes of N random images, for the spread of every code. Without it the
                           spread is taken over group_codes, and the result says so

what each metric reads:
{needs}

examples:
  python -m metrics --codes codes.npz
  python -m metrics --codes codes.npz --metrics factor_vae,ibgan_factor_vae --json
  python -m metrics --list

  # in Python: 500 groups of 100 images, and the codes of some thousand random ones
  numpy.savez("codes.npz", group_codes=group_codes, group_labels=group_labels, codes=codes)

The scores go to standard output, everything else to standard error. Exit code 0 is success, 2 is bad input.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line with a hint."""

    def error(self, message: str) -> NoReturn:
        unknown = re.fullmatch(r"unrecognized arguments: (-\S+).*", message)
        if unknown:
            options = [option for option in self._option_string_actions if option.startswith("--")]
            message += near_matches(unknown[1].split("=")[0], options)
        raise UserError(f"{message} (see python -m metrics --help)")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    needs = "\n".join(f"  {name:20s} {', '.join(registry.get(name).needs)}" for name in registry.names())
    result = _Parser(
        prog="python -m metrics",
        description="Scores a representation that is given as arrays, from any tool.",
        epilog=_EPILOG.format(needs=needs),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    result.add_argument("--codes", metavar="FILE.npz", type=Path, help="the arrays to score; see below")
    result.add_argument(
        "--metrics", metavar="ID,ID", help="which metrics (default: all that the file has the arrays for)"
    )
    result.add_argument(
        "--preset",
        choices=registry.PRESETS,
        default="paper",
        help="how thorough (default: paper). The metrics of groups use every array in full with either",
    )
    result.add_argument(
        "--seed", type=int, default=0, metavar="N", help="for metrics that draw or fit (default: 0); none does yet"
    )
    result.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    result.add_argument("--list", action="store_true", help="list the metrics with their papers and stop")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: what follows the command's name; by default that of the process.

    Returns:
        the exit code.

    Raises:
        UserError: for bad input of any kind.
    """
    options = parser().parse_args(arguments)
    if options.list:
        print(_listing(options.json))
        return 0
    if options.codes is None:
        raise UserError("--codes is missing: give the .npz file to score, or --list or --help")
    if options.seed < 0:
        raise UserError(f"--seed is {options.seed}; it must be 0 or more")
    chosen = None if options.metrics is None else [name.strip() for name in options.metrics.split(",") if name.strip()]
    if chosen is not None:
        # Unknown ids are told before a file of gigabytes is read.
        for name in chosen:
            registry.get(name)
    arrays = read_arrays(options.codes)
    results = registry.score_arrays(arrays, _possible(arrays) if chosen is None else chosen)
    if options.json:
        scores = {name: result.to_json() for name, result in results.items()}
        record = {"metrics": scores, "file": str(options.codes), "preset": options.preset, "seed": options.seed}
        print(json.dumps(record, allow_nan=False))
    else:
        print(_table(results))
    return 0


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that the metrics know; others are named on standard error and left out.

    Args:
        path: a file written by `numpy.savez` or `numpy.savez_compressed`.

    Raises:
        UserError: if the file is not whole, is of another kind, or holds pickled objects.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the .npz file itself")
    try:
        with path.open("rb") as handle:
            _check_kind(handle.read(6), path)
        with np.load(path, allow_pickle=False) as file:
            unknown = [name for name in file.files if name not in _KEYS]
            arrays = {name: _read_array(file, name, path) for name in file.files if name in _KEYS}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise UserError(f"{path} is not a whole .npz file ({error}); write or copy it again") from None
    if unknown:
        near = "".join(f"; {name!r}{near_matches(name, _KEYS)}" for name in unknown if _is_near(name))
        print(f"note: {path} holds arrays that no metric reads: {', '.join(unknown)}{near}", file=sys.stderr)
    return arrays


def _check_kind(magic: bytes, path: Path) -> None:
    """Refuses what does not begin as a zip archive does, before numpy looks at it."""
    if magic.startswith(b"\x93NUMPY"):
        raise UserError(
            f"{path} holds one array without a name; --codes needs an .npz file with named arrays, as numpy.savez "
            "writes it"
        )
    if not magic.startswith(b"PK"):
        raise UserError(f"{path} is {'not an .npz file' if magic else 'empty'}; write it with numpy.savez")


def _read_array(file: np.lib.npyio.NpzFile, name: str, path: Path) -> np.ndarray:
    try:
        array = file[name]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise UserError(f"{path}: the array {name!r} is damaged ({error}); write or copy the file again") from None
    except MemoryError:
        raise UserError(f"{path}: the array {name!r} does not fit into memory; give fewer groups or images") from None
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise UserError(
                f"{path}: the array {name!r} holds Python objects, which are never unpickled; convert it to numbers "
                f"first, such as numpy.asarray({name}, dtype=float)"
            ) from None
        raise UserError(f"{path}: the array {name!r} is damaged ({error}); write or copy the file again") from None
    # numpy hands out the bytes of a member that does not begin as an array does.
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: {name!r} is not an array; write the file with numpy.savez")
    return array


def _is_near(name: str) -> bool:
    return "did you mean" in near_matches(name, _KEYS)


def _possible(arrays: dict[str, np.ndarray]) -> list[str]:
    """The metrics that these arrays suffice for."""
    possible = [name for name in registry.names() if all(key in arrays for key in registry.get(name).needs)]
    if not possible:
        needs = sorted({key for name in registry.names() for key in registry.get(name).needs})
        has = ", ".join(sorted(arrays)) if arrays else "none of the arrays that metrics read"
        raise UserError(
            f"the file has {has}, which suffices for no metric; the metrics here need {' and '.join(needs)} "
            "(see python -m metrics --help)"
        )
    return possible


def _listing(as_json: bool) -> str:
    metrics = [registry.get(name) for name in registry.names()]
    if as_json:
        entries = {m.name: {"description": m.description, "paper": m.paper, "needs": list(m.needs)} for m in metrics}
        return json.dumps({"metrics": entries})
    return "\n".join(f"{metric.name:20s} {metric.description} [{metric.paper}]" for metric in metrics)


def _table(results: dict[str, MetricResult]) -> str:
    width = max(len("metric"), *map(len, results))
    lines = [f"{'metric':{width}s}  score"]
    for name, result in results.items():
        lines.append(f"{name:{width}s}  {result.score:.4f}")
        lines.extend(f"{'':{width}s}  ! {text}" for text in result.degenerate)
        lines.extend(f"{'':{width}s}  . {text}" for text in result.notes)
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
