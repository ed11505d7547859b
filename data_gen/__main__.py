"""Tells of all data sets, of what is there, and whether it is whole: `python -m data_gen [list | verify NAME]`."""

from __future__ import annotations

from pathlib import Path

from common.arguments import CommandParser
from common.errors import UserError, run_command
from common.output import say, tell
from data_gen import default_data_dir, default_raw_dir, names, sources, summary

_TEACHING = """actions:
  (none)        what each data set is, how large, with which factors and under which terms
  list          what of it is there: published files in --raw_dir, prepared sets in --data_dir
  verify NAME   examines prepared sets: checksums, numbers of examples, means and deviations of the
                pixels, against what was recorded when they were written; exit code 1 if one is damaged.
                NAME is a folder in --data_dir, or a data set: then all that it has made

prepare a data set with: python -m data_gen.<name> (--help tells more)
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: the command line. Default: that of this process.

    Returns:
        the exit code: 1 if a set that was to be verified is damaged.

    Raises:
        UserError: for bad flags, or a set that is not there.
    """
    parser = CommandParser(
        prog="python -m data_gen", description="Tells of the data sets, and of what is there.", epilog=_TEACHING
    )
    parser.add_argument("action", nargs="?", choices=("list", "verify"), metavar="ACTION", help="list, or verify")
    parser.add_argument("name", nargs="?", metavar="NAME", help="what is to be verified")
    parser.add_argument("--data_dir", type=Path, help="folder of prepared sets (default: $SPOUT_DATA_DIR, data)")
    parser.add_argument("--raw_dir", type=Path, help="folder of published files (default: $SPOUT_RAW_DIR, data/raw)")
    flags = parser.parse_args(arguments)
    if flags.name is not None and flags.action != "verify":
        raise UserError(f"{flags.name!r} belongs to verify: python -m data_gen verify {flags.name}")
    data_dir = flags.data_dir or default_data_dir()
    if flags.action == "verify":
        if flags.name is None:
            raise UserError("verify what? give the name of a prepared set; python -m data_gen list shows them")
        return _verify(flags.name, data_dir)
    if flags.action == "list":
        _list(data_dir, flags.raw_dir or default_raw_dir())
    else:
        _describe()
    return 0


def _describe() -> None:
    for name in names():
        about = summary(name)
        tell(f"{name}\n  what     {about.what}\n  images   {about.images}\n  factors  {about.factors}")
        tell(f"  files    {about.files}\n  terms    {about.license}\n  sources  {', '.join(sources(name))}")
    tell("\nprepare one with: python -m data_gen.<name> (--help tells more)")
    tell("what is there:    python -m data_gen list")


def _list(data_dir: Path, raw_dir: Path) -> None:
    from data_gen.inventory import Prepared, cached_files, made_by, prepared_sets, raw_files

    prepared, cached = prepared_sets(data_dir), cached_files(data_dir)

    def tell_of(found: Prepared) -> None:
        splits = ", ".join(f"{name} {count:,}" for name, count in found.splits.items()) or "no record of its splits"
        state = "" if found.finished else ", unfinished"
        tell(f"  prepared  {found.name} {found.version}: {splits}; {_bytes(found.size)}{state}")

    def tell_of_cache(path: Path) -> None:
        tell(f"  unpacked  {path}: {_bytes(path.stat().st_size)}")

    tell(f"prepared sets in {data_dir}, published files in {raw_dir}\n")
    for name in names():
        about = summary(name)
        tell(f"{name}\n  images    {about.images}\n  terms     {about.license}")
        own = [found for found in prepared if found.belongs_to == name]
        for found in own:
            tell_of(found)
        kept = [path for path in cached if made_by(path.parent.name) == name]
        for path in kept:
            tell_of_cache(path)
        raw = raw_files(raw_dir, about.raw_names) if about.raw_names and raw_dir.is_dir() else []
        for path in raw:
            tell(f"  file      {path}" + (f": {_bytes(path.stat().st_size)}" if path.is_file() else " (folder)"))
        if not (own or kept or raw):
            tell("  nothing of it is there")
        if not raw:
            tell(f"  get it    {about.files}")
    others = [found for found in prepared if found.belongs_to is None]
    kept = [path for path in cached if made_by(path.parent.name) is None and path.parent != raw_dir]
    if others or kept:
        tell("other sets")
    for found in others:
        tell_of(found)
    for path in kept:
        tell_of_cache(path)


def _verify(name: str, data_dir: Path) -> int:
    from common.tensorflow_start import import_tensorflow
    from data_gen.inventory import chosen_sets, examine

    chosen = chosen_sets(name, data_dir)
    import_tensorflow()
    damaged = 0
    for found in chosen:
        health = examine(found)
        counts = ", ".join(f"{split} {count:,}" for split, count in found.splits.items())
        tell(f"{found.name} {found.version}: {'DAMAGED' if health.errors else 'whole'}; {counts}")
        for field, (means, deviations) in health.statistics.items():
            tell(f"  {field}: mean {_numbers(means)}, deviation {_numbers(deviations)}")
        for remark in health.remarks:
            tell(f"  note: {remark}")
        for error in health.errors:
            say(f"error: {found.path}: {error}")
        damaged += bool(health.errors)
    return 1 if damaged else 0


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def _bytes(size: int) -> str:
    for factor, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


if __name__ == "__main__":
    run_command(main)
