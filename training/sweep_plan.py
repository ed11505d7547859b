"""The plan of a sweep: which bindings, in which order, under which names. Loads neither TensorFlow nor gin.

The members are the Cartesian product of all values, seeds varying slowest, so that every combination has its first
seed before any has its second. A plan that grows keeps the numbers and names of the members that it had.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_text

SEED = "experiment.seed"
PLAN_FILE = "sweep.json"
MAX_MEMBERS = 10_000
_LONGEST_NAME = 96
_KEY = re.compile(r"[A-Za-z_][\w./]*\Z")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
Bindings = Mapping[str, str]


@dataclass(frozen=True)
class Axis:
    """One option that a sweep varies.

    Args:
        key: as in a gin file, such as `ibgan.beta` or `discriminator/rmsprop.learning_rate`.
        values: gin text of its values.
    """

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Member:
    """One run of a sweep.

    Args:
        index: its number, from 0; it never changes.
        name: of its run folder, below that of the sweep.
        bindings: option to gin text.
    """

    index: int
    name: str
    bindings: Bindings

    @property
    def gin_bindings(self) -> list[str]:
        """The bindings as `run.py` takes them."""
        return [f"{key} = {value}" for key, value in self.bindings.items()]

    @property
    def combination(self) -> dict[str, str]:
        """The bindings without the seed."""
        return {key: value for key, value in self.bindings.items() if key != SEED}

    @property
    def label(self) -> str:
        """The bindings in one line, for people."""
        return ", ".join(self.gin_bindings) or "as in the gin files"


def parse_sweep(texts: Sequence[str]) -> list[Axis]:
    """Reads what `--sweep` says.

    Args:
        texts: each `key=[value, value];key=[value]`, the values gin literals, references or macros. A value that is no
            list stands for itself.

    Raises:
        UserError: text that is none of this, no value, a value or a key given twice.
    """
    axes: list[Axis] = []
    for part in (part for text in texts for part in _split(text, ";") if part):
        key, equals, values = (piece.strip() for piece in part.partition("="))
        if not equals or not _KEY.match(key):
            raise UserError(f"--sweep: {part!r} is not of the form key=[value, value]; several are separated by ';'")
        if key in (axis.key for axis in axes):
            raise UserError(f"--sweep: {key} is given twice; give one list of values")
        axes.append(Axis(key, _values(key, values)))
    if texts and not axes:
        raise UserError("--sweep is empty; for example --sweep='ibgan.beta=[0.1,0.2]'")
    return axes


def parse_seeds(text: str) -> tuple[int, ...]:
    """Reads what `--seeds` says: `10` is 0 to 9, `3,5,7` these, `3,` the seed 3.

    Raises:
        UserError: anything else.
    """
    pieces = [piece.strip() for piece in text.split(",")]
    numbers = [piece for piece in pieces if piece]
    if not numbers or not all(re.fullmatch(r"\d+", piece) for piece in numbers):
        raise UserError(f"--seeds is {text!r}; give how many (10 is 0 to 9), or which: 3,5,7 (one alone: 3,)")
    seeds = tuple(int(piece) for piece in numbers)
    if len(pieces) == 1:
        if not 1 <= seeds[0] <= MAX_MEMBERS:
            raise UserError(f"--seeds={text}: give 1 to {MAX_MEMBERS:,} seeds, or which: 3,5,7 (one alone: 3,)")
        return tuple(range(seeds[0]))
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds={text} names a seed twice")
    return seeds


def with_seeds(axes: Sequence[Axis], seeds: Sequence[int]) -> list[Axis]:
    """The axes in the order in which they vary, the slowest first: the seeds, if there are some, and all others.

    Raises:
        UserError: the seed is swept in two ways.
    """
    swept = [axis for axis in axes if axis.key == SEED]
    if swept and seeds:
        raise UserError(f"{SEED} is in --sweep and in --seeds; give it in one of them")
    first = swept or ([Axis(SEED, tuple(str(seed) for seed in seeds))] if seeds else [])
    return [*first, *(axis for axis in axes if axis.key != SEED)]


def product(axes: Sequence[Axis]) -> list[dict[str, str]]:
    """All combinations of the axes' values, the last axis varying fastest.

    Raises:
        UserError: far too many.
    """
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > MAX_MEMBERS:
        raise UserError(f"the sweep has {count:,} members, more than {MAX_MEMBERS:,}; give fewer values or seeds")
    keys = [axis.key for axis in axes]
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(axis.values for axis in axes))]


def members_of(combinations: Sequence[Bindings], known: Sequence[Member] = ()) -> list[Member]:
    """Numbers and names combinations; those of an earlier plan keep theirs, new ones follow.

    Args:
        combinations: see `product`.
        known: members of the plan that the folder has.

    Raises:
        UserError: the earlier plan has other options, or members that this one lacks.
    """
    wanted = {_identity(bindings): bindings for bindings in combinations}
    if known:
        _refuse_other_keys(known[0].bindings, combinations[0])
    lost = [member for member in known if _identity(member.bindings) not in wanted]
    if lost:
        shown = "; ".join(f"{member.index}: {member.label}" for member in lost[:3]) + ("; ..." if lost[3:] else "")
        raise UserError(
            f"the folder's plan has {len(lost)} members that this one lacks ({shown}); a plan may only grow: "
            "give these values too, or choose another --run_dir"
        )
    members = sorted(known, key=lambda member: member.index)
    there = {_identity(member.bindings) for member in members}
    start = max((member.index for member in members), default=-1) + 1
    new = [bindings for identity, bindings in wanted.items() if identity not in there]
    members.extend(
        Member(index, _name(index, bindings), dict(bindings)) for index, bindings in enumerate(new, start=start)
    )
    return members


def _refuse_other_keys(old: Bindings, new: Bindings) -> None:
    if set(old) != set(new):
        raise UserError(
            f"the folder's plan varies {', '.join(old) or 'nothing'}, and this one {', '.join(new) or 'nothing'}; "
            "choose another --run_dir"
        )


def _identity(bindings: Bindings) -> frozenset[tuple[str, str]]:
    """Equal for bindings of equal values, however they are written: 1e-4 is 0.0001."""
    return frozenset((key, _canonical(value)) for key, value in bindings.items())


def _canonical(text: str) -> str:
    try:
        return repr(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return text


def _name(index: int, bindings: Bindings) -> str:
    """A name of a folder such as `003_beta-0.1_seed-2`: short keys in alphabetical order, unique by its number."""
    parts = sorted(f"{_short_key(key, bindings)}-{_plain(value)}" for key, value in bindings.items())
    return "_".join([f"{index:03d}", *parts])[:_LONGEST_NAME].rstrip("-._")


def _short_key(key: str, bindings: Bindings) -> str:
    last = key.rpartition(".")[2]
    unique = sum(other.rpartition(".")[2] == last for other in bindings) == 1
    return _plain(last if unique and "/" not in key else key)


def _plain(text: str) -> str:
    """Only what any file system takes in a name."""
    return re.sub(r"[^\w.+-]+", "-", re.sub(r"[()\[\]{}'\"]", "", text), flags=re.ASCII) or "-"


def _values(key: str, text: str) -> tuple[str, ...]:
    listed = text.startswith("[") and text.endswith("]")
    values = [value for value in _split(text[1:-1], ",") if value] if listed else [text]
    if not values or not all(values):
        raise UserError(f"--sweep: {key} has no values; for example --sweep='{key}=[0.1,0.2]'")
    for value in values:
        if not value.startswith(("@", "%")):
            _check_literal(key, value)
    seen = [_canonical(value) for value in values]
    twice = next((value for value, text in zip(values, seen, strict=True) if seen.count(text) > 1), None)
    if twice is not None:
        raise UserError(f"--sweep: {key} has the value {twice} twice")
    return tuple(values)


def _check_literal(key: str, value: str) -> None:
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        quotes = f"; texts need quotes: '{value}'" if re.fullmatch(r"\w+", value) else ""
        raise UserError(f"--sweep: {key} has the value {value!r}, which is no gin literal{quotes}") from None


def _split(text: str, separator: str) -> list[str]:
    """The parts of a text, separators within brackets and quotes left alone; what is around them is stripped."""
    parts, start = [], 0
    for place, character in _outside(text):
        if character == separator:
            parts.append(text[start:place].strip())
            start = place + 1
    return [*parts, text[start:].strip()]


def _outside(text: str) -> Iterator[tuple[int, str]]:
    """Characters that stand in no bracket and no quotation, with their places."""
    closing: list[str] = []
    quote = ""
    escaped = False
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote and not escaped else quote
            escaped = character == "\\" and not escaped
        elif character in "'\"":
            quote = character
        elif character in _CLOSING:
            closing.append(_CLOSING[character])
        elif closing and character == closing[-1]:
            closing.pop()
        elif character in ")]}":
            raise UserError(f"--sweep: {character!r} in {text!r} closes nothing")
        elif not closing:
            yield place, character
    if quote or closing:
        raise UserError(f"--sweep: {quote or closing[-1]!r} is missing in {text!r}")


@dataclass(frozen=True)
class Plan:
    """What `sweep.json` holds.

    Args:
        experiment: the experiment's name.
        gin_files, gin_params: as they were given.
        members: in the order of their numbers.
        options: all options of each member, after defaults, by dotted names.
    """

    experiment: str
    gin_files: tuple[str, ...]
    gin_params: tuple[str, ...]
    members: tuple[Member, ...]
    options: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data; what all members have in common stands once."""
        first = self.options[0]
        common = {
            key: value
            for key, value in first.items()
            if all(key in options and options[key] == value for options in self.options)
        }
        return {
            "experiment": self.experiment,
            "gin_files": list(self.gin_files),
            "gin_params": list(self.gin_params),
            "members": [
                {
                    "index": member.index,
                    "name": member.name,
                    "bindings": dict(member.bindings),
                    "options": {key: value for key, value in options.items() if key not in common},
                }
                for member, options in zip(self.members, self.options, strict=True)
            ],
            "common_options": common,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """The plan of what `to_json` gave."""
        members = [Member(entry["index"], entry["name"], entry["bindings"]) for entry in data["members"]]
        options = [{**data["common_options"], **entry["options"]} for entry in data["members"]]
        return cls(
            data["experiment"], tuple(data["gin_files"]), tuple(data["gin_params"]), tuple(members), tuple(options)
        )


def read_plan(folder: Path) -> Plan | None:
    """The plan of a sweep's folder; None if there is none.

    Raises:
        UserError: it is damaged.
    """
    path = folder / PLAN_FILE
    try:
        return Plan.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path} is damaged; remove it, and the same command writes it anew") from None


def write_plan(folder: Path, plan: Plan) -> None:
    """Writes the plan as a whole file, unless the very same is there."""
    if read_plan(folder) != plan:
        write_text(folder / PLAN_FILE, json.dumps(plan.to_json(), indent=1) + "\n")
