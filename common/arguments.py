"""Command lines whose complaints are one line."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from common.errors import UserError, near_matches

_EXPECTED = {"int": "no whole number", "float": "no number", "truth": "neither yes nor no"}
"""What is said of a value that a type of an option does not take."""


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

    def error(self, message: str) -> NoReturn:
        """Raises what argparse complains about."""
        unknown = re.search(r"^unrecognized arguments:.*? (--[^\s=]+)", message)
        if unknown:
            options = [option for option in self._option_string_actions if option.startswith("--")]
            message += near_matches(unknown[1], options)
        for kind, expected in _EXPECTED.items():
            message = re.sub(rf"invalid {kind} value: (.*)", rf"\1 is {expected}", message, flags=re.DOTALL)
        raise UserError(f"{message} (see {self.prog} --help)")
