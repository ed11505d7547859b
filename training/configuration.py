"""The gin layer: the only place that knows gin. It turns files and bindings at once into frozen dataclasses.

Every configurable is the constructor of one dataclass, so that names and defaults stand in one place, the class.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import inspect
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import gin
from common.errors import UserError, near_matches
from common.typing_checks import checked
from models import MODELS
from models.optimizers import OPTIMIZERS
from training.options import (
    BenchmarkOptions,
    Configuration,
    DataOptions,
    EvaluationOptions,
    ExperimentOptions,
    ExportOptions,
    GenerationOptions,
    InterpolationOptions,
    TraversalOptions,
)

ROOT = Path(__file__).resolve().parent.parent
_SECTIONS: dict[str, type] = {
    "experiment": ExperimentOptions,
    "data": DataOptions,
    "evaluation": EvaluationOptions,
    "traversal": TraversalOptions,
    "generation": GenerationOptions,
    "interpolation": InterpolationOptions,
    "export": ExportOptions,
    "benchmark": BenchmarkOptions,
}
_MODULE = "spout"
_VALUES = "values are numbers, 'texts', True, False, None, (1, 2), {'key': 1}, @name() and %macro"
RESUMABLE_CHANGES = frozenset({"experiment.total_steps", "experiment.keep_checkpoints"})
"""Options that a run may change when it goes on: they do not touch what has been computed so far."""


_UNSET = object()


def _option_classes() -> dict[str, type]:
    classes = {**_SECTIONS, **OPTIMIZERS}
    for name, path in MODELS.items():
        module, attribute = path.split(":")
        classes[name] = getattr(importlib.import_module(module), attribute)
    return classes


def _constructor(name: str, cls: type) -> Callable[..., Any]:
    def construct(**given: Any) -> Any:
        scoped = "/".join([*gin.current_scope(), name])
        arguments = {field: value for field, value in given.items() if value is not _UNSET}
        required = [
            field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING
        ]
        missing = [field for field in required if field not in arguments]
        if missing:
            raise UserError(
                f"{scoped}.{missing[0]} is not set; bind it in the gin file, for example {scoped}.{missing[0]} = ..."
            )
        try:
            return cls(**checked(cls, scoped, arguments))
        except (TypeError, ValueError) as error:
            message = str(error)
            raise UserError(message if message.startswith(f"{scoped}.") else f"{scoped}.{message}") from None

    construct.__name__ = construct.__qualname__ = name
    # Every parameter gets a default here, so that the message above, and not Python's, names what is missing.
    parameters = [
        inspect.Parameter(field.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=_UNSET) for field in fields(cls)
    ]
    construct.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return construct


def _register() -> None:
    for name, cls in _option_classes().items():
        constructor = _constructor(name, cls)
        with gin.unlock_config():
            gin.external_configurable(constructor, name=name, module=_MODULE)


def load(files: Sequence[str | Path] = (), bindings: Sequence[str] = ()) -> tuple[Configuration, str]:
    """Reads gin files and bindings into a configuration.

    Args:
        files: gin files, later ones win; an `include` in them is looked up from the suite's folder too.
        bindings: single bindings such as `ibgan.beta = 0.2`, which win over the files.

    Returns:
        the configuration, and the gin text that gives it again.

    Raises:
        UserError: a file that is not there, an unknown name, a value out of its range, a binding that nothing uses.
    """
    gin.clear_config()
    _register_once()
    _parse(files, bindings)
    _call(gin.finalize, files, bindings)
    configurables = {name: gin.get_configurable(f"{_MODULE}.{name}") for name in _SECTIONS}
    sections = {name: _call(construct, files, bindings) for name, construct in configurables.items()}
    _refuse_unused(files, bindings)
    # gin underlines a heading as far as the longest line may go.
    text = re.sub(r"^# =+$", "# " + 78 * "=", gin.config_str(max_line_length=10_000), flags=re.MULTILINE)
    return Configuration(**sections), text


def _call(construct: Callable[..., Any], files: Sequence[str | Path], bindings: Sequence[str]) -> Any:
    try:
        return construct()
    except RecursionError:
        raise UserError(
            "gin: a macro or @name() stands for itself, straight or through others; give it a value of its own"
        ) from None
    except UserError as error:
        # gin appends where the configurable was called from; only the first line is for people.
        message = str(error).splitlines()[0]
        place = _locate(message.split(" ")[0].split("[")[0], files, bindings)
        raise UserError(f"{place}: {message}" if place else message) from None
    except ValueError as error:
        if found := re.match(r"No bindings specified for '(.+)/gin\.macro'", str(error)):
            name = found.group(1)
            raise UserError(f"the macro %{name} is used but not set; add a line {name} = ... to the gin file") from None
        raise


_registered = False


def _register_once() -> None:
    global _registered
    if not _registered:
        _register()
        gin.add_config_file_search_path(str(ROOT))
        _registered = True


def locate(file: str | Path) -> Path:
    """Where a gin file lies: as given, or else below the suite's folder.

    Raises:
        UserError: it is nowhere.
    """
    for path in (Path(file), ROOT / file):
        if path.is_file():
            return path
    known = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "gin").glob("*.gin"))
    raise UserError(f"gin file {str(file)!r} is not there{near_matches(str(file), known)}")


def _parse(files: Sequence[str | Path], bindings: Sequence[str]) -> None:
    for file in files:
        locate(file)
        with gin.unlock_config():
            _parsing(functools.partial(gin.parse_config_file, str(file)), f"gin file {file}")
    for binding in bindings:
        with gin.unlock_config():
            _parsing(functools.partial(gin.parse_config, binding), f"--gin_param={binding!r}")


def _parsing(parse: Callable[[], Any], where: str) -> None:
    try:
        # gin logs a missing include as well as raising an error.
        logging.disable(logging.ERROR)
        with _without_imports():
            parse()
    except RecursionError:
        raise UserError(
            f"{where}: a file includes itself, or a value has brackets within brackets too deeply; write it flat"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{where}: this is no text; give a gin file, such as those in the folder gin/") from None
    except Exception as error:
        raise UserError(f"{where}: {_explain(str(error))}") from None
    finally:
        logging.disable(logging.NOTSET)


@contextlib.contextmanager
def _without_imports() -> Iterator[None]:
    """Within this context an `import` in a gin file is refused: it would run whatever module of this name is found."""
    kept = gin.config.ParseContext.process_import

    def refuse(context: Any, statement: Any) -> None:
        raise UserError(f"line {statement.location.line_num}: 'import' is not allowed in gin files; remove the line")

    gin.config.ParseContext.process_import = refuse
    try:
        yield
    finally:
        gin.config.ParseContext.process_import = kept


def _explain(message: str) -> str:
    """gin's message in one line, with near matches for a name that it does not know."""
    line = " ".join(message.split())
    if found := re.search(r"Failed to parse token '(.+?)' \((.+?)\)$", line):
        return f"{found.group(1)!r} is no value ({found.group(2)}); {_VALUES}"
    if re.search(
        r"Expected newline|Unable to parse value|Unexpected token|Couldn't parse statement|EOF in multi", line
    ):
        return f"{line}; a binding is name.option = value, and {_VALUES}"
    classes = _option_classes()
    if found := re.search(r"Configurable '([\w./]+)' doesn't have a parameter named '(\w+)'", line):
        selector, parameter = found.group(1).split(".")[-1], found.group(2)
        names = [field.name for field in fields(classes[selector])] if selector in classes else []
        hint = near_matches(parameter, names) if names else ""
        return f"{selector!r} has no option {parameter!r}{hint} ({_position(line)})"
    if found := re.search(r"No configurable matching (?:reference )?'@?([\w./]+?)(?:\(\))?'", line):
        hint = near_matches(found.group(1).split("/")[-1], list(classes))
        return f"{found.group(1)!r} is not known{hint} ({_position(line)})"
    return line


def _position(line: str) -> str:
    found = re.search(r"In (?:file \"([^\"]+)\"|bindings string),? line (\d+)", line)
    if not found:
        return line
    return f"{found.group(1)} line {found.group(2)}" if found.group(1) else "in the binding"


def _refuse_unused(files: Sequence[str | Path], bindings: Sequence[str]) -> None:
    operative = gin.config._OPERATIVE_CONFIG
    for (scope, selector), parameters in gin.config._CONFIG.items():
        for parameter in parameters:
            used = any(
                parameter in values and other == selector and (used_scope == scope or _inside(used_scope, scope))
                for (used_scope, other), values in operative.items()
            )
            if not used:
                raise UserError(_unused_message(scope, selector.split(".")[-1], parameter, files, bindings))


def _inside(used_scope: str, scope: str) -> bool:
    return not scope or used_scope.startswith(scope + "/")


def _unused_message(scope: str, name: str, parameter: str, files: Sequence[str | Path], bindings: Sequence[str]) -> str:
    key = f"{scope}/{name}.{parameter}" if scope else f"{name}.{parameter}"
    used = sorted(
        {f"{s}/{n.split('.')[-1]}" if s else n.split(".")[-1] for s, n in gin.config._OPERATIVE_CONFIG} - {name}
    )
    given = f"{scope}/{name}" if scope else name
    if name == "macro":
        return f"{_locate(scope, files, bindings) or 'gin'}: nothing uses the macro {scope}; remove it"
    return f"{_locate(key, files, bindings) or 'gin'}: nothing uses the binding {key}{near_matches(given, used)}"


def _locate(key: str, files: Sequence[str | Path], bindings: Sequence[str]) -> str:
    """Where a name is bound, the latest place of all; empty if nowhere."""
    pattern = re.compile(rf"^\s*{re.escape(key)}\s*=")
    if any(pattern.match(binding) for binding in bindings):
        return "--gin_param"
    place = ""
    for file in files:
        place = _locate_in_file(pattern, Path(file), set()) or place
    return place


def _locate_in_file(pattern: re.Pattern[str], file: Path, seen: set[Path]) -> str:
    path = file if file.is_file() else ROOT / file
    if path in seen or not path.is_file():
        return ""
    seen.add(path)
    place = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if pattern.match(line):
            place = f"{path} line {number}"
        elif included := re.match(r"\s*include\s+['\"](.+)['\"]", line):
            place = _locate_in_file(pattern, Path(included.group(1)), seen) or place
    return place


def as_plain_data(value: Any) -> Any:
    """Dataclasses, mappings and tuples as what JSON can hold; the class of a dataclass is kept under `kind`."""
    if is_dataclass(value) and not isinstance(value, type):
        named = {"kind": type(value).__name__} if type(value) not in _SECTIONS.values() else {}
        return {**named, **{field.name: as_plain_data(getattr(value, field.name)) for field in fields(value)}}
    if isinstance(value, Mapping):
        return {str(key): as_plain_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain_data(item) for item in value]
    return value


def resolved(configuration: Configuration) -> dict[str, Any]:
    """All options of a configuration as plain data, section by section."""
    return {field.name: as_plain_data(getattr(configuration, field.name)) for field in fields(configuration)}


def flatten(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options as `section.option.key` to value."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(value, Mapping):
            flat.update(flatten(value, name))
        else:
            flat[name] = value
    return flat


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Names of the options that decide the numbers of a run and differ, with both values.

    An option that `old` does not know, because it is younger than the run, has not changed while it is at its default.
    """
    old, new = json.loads(json.dumps(old)), json.loads(json.dumps(new))
    before, after = {**flatten(_defaults(new, old)), **flatten(old)}, flatten(new)
    sections = ("experiment.", "data.", "evaluation.", "traversal.")
    return [
        f"{name} was {before.get(name, 'not set')!r} and is {after.get(name, 'not set')!r}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
        and name.startswith(sections)
        and name not in RESUMABLE_CHANGES
        and not name.startswith("experiment.paper")
    ]


def _defaults(options: Mapping[str, Any], known: Mapping[str, Any], owner: type | None = None) -> dict[str, Any]:
    """The defaults of those options that stand in dataclasses of this suite and are not in `known`, as plain data."""
    found: dict[str, Any] = {}
    by_field = {field.name: field for field in fields(owner)} if owner else {}
    for name, value in options.items():
        inner = known.get(name)
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            found[name] = _defaults(value, inner, _class_of(name, value))
        elif name not in known and name in by_field and by_field[name].default is not MISSING:
            found[name] = json.loads(json.dumps(as_plain_data(by_field[name].default)))
    return found


def _class_of(name: str, options: Mapping[str, Any]) -> type | None:
    """The dataclass that plain data came from: a section, or what its `kind` names."""
    kinds = {cls.__name__: cls for cls in _option_classes().values()}
    return kinds.get(options.get("kind", ""), _SECTIONS.get(name))
