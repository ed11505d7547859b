"""Command lines whose complaints are one line."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from common.errors import UserError, near_matches

_EXPECTED = {"int": "no whole number", "float": "no number", "truth": "neither yes nor no"}
"""What is said of a value that a type of an option does not take."""


def at_home(words: Sequence[str]) -> list[str]:
    """A command line in which `--flag=~/folder` has the folder: shells expand a `~` at the beginning of words only."""
    return [
        f"{flag}={os.path.expanduser(value)}" if flag.startswith("--") and value.startswith("~") else word
        for word, (flag, _, value) in ((word, word.partition("=")) for word in words)
    ]


class CommandParser(argparse.ArgumentParser):
    """A parser that raises `UserError` instead of printing its usage, and names the nearest option for an unknown one.

    Options are never abbreviated, and the help is printed as it is written.
    """

    def __init__(self, prog: str, description: str, epilog: str = "") -> None:
        """Takes the command as the user types it, what it does, and what `--help` says at its end."""
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse's, which all other ways to parse go through, with `~` in values expanded."""
        return super().parse_known_args(at_home(sys.argv[1:] if args is None else args), namespace)

    def error(self, message: str) -> NoReturn:
        """Raises what argparse complains about."""
        unknown = re.search(r"^unrecognized arguments:.*? (--[^\s=]+)", message)
        if unknown:
            options = [option for option in self._option_string_actions if option.startswith("--")]
            message += near_matches(unknown[1], options)
        for kind, expected in _EXPECTED.items():
            message = re.sub(rf"invalid {kind} value: (.*)", rf"\1 is {expected}", message, flags=re.DOTALL)
        raise UserError(f"{message} (see {self.prog} --help)")
