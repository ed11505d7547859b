"""Lists the data sets: `python -m data_gen`."""

from __future__ import annotations

from common.errors import run_command
from data_gen import names, sources, summary


def main() -> None:
    """Prints what each data set is, how large, with which factors, and where its files come from."""
    for name in names():
        about = summary(name)
        print(f"{name}\n  what     {about.what}\n  images   {about.images}\n  factors  {about.factors}")
        print(f"  files    {about.files}\n  sources  {', '.join(sources(name))}")
    print("\nprepare one with: python -m data_gen.<name> (--help tells more)")


if __name__ == "__main__":
    run_command(main)
