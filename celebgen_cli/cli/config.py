"""`--config FILE.toml` and `--print-config`: any option of a command, from a file.

Keys are the options' long names without dashes ("batch-size", or batch_size) and the arguments' names ("dataset"). A
table named after a command ([train-vae], [evaluate.fid]) is for that command alone and wins over the keys above it, so
that one file can hold a whole chain. The command line wins over the file, the file over a resumed run, and that over
the preset: values of the file become Click's `default_map`, which is asked where the command line says nothing.
"""

import difflib
import functools
import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from celebgen_cli.cli import common
from celebgen_cli.errors import UsageError

Resolver = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_OWN = ("config", "print_config")
_PASSING = (*_OWN, "resume", "quiet", "force", "json")  # how a call behaves, not what it makes


def configurable(function: Callable[..., Any], resolve: Resolver | None = None) -> Callable[..., Any]:
    """The command with `--config` and `--print-config`.

    Args:
        resolve: gives all options as they would be used, from those that were given; called before the command.
            The command gets them, as TOML, by its keyword `options`, which is no option of its own.
    """
    signature = inspect.signature(function, eval_str=True)

    @functools.wraps(function)
    def run(*, context: typer.Context, config: Path | None, print_config: bool, **values: Any) -> Any:
        if resolve is not None:
            values["options"] = toml(context.command, context.command_path, resolve(values))
        if not print_config:
            return function(**values)
        print(values.get("options") or toml(context.command, context.command_path, values), end="")

    added: dict[str, tuple[Any, Any]] = {
        "context": (typer.Context, inspect.Parameter.empty),
        "config": (Config, None),
        "print_config": (PrintConfig, False),
    }
    parameters = [parameter for name, parameter in signature.parameters.items() if name != "options"]
    for name, (kind, default) in added.items():
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind))
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def trains(kind: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator for the command that trains a network of this kind: "clip", "vae", "diffusion" or "judge"."""

    def resolve(given: Mapping[str, Any]) -> Mapping[str, Any]:
        from celebgen_cli.training.resolution import resolved

        return resolved(kind, given)

    return functools.partial(configurable, resolve=resolve)


def configure(app: typer.Typer, names: Sequence[str]) -> None:
    """Make these commands of `app` configurable, and all commands of the groups among them."""
    for command in app.registered_commands:
        named = command.name in names or not names
        if command.callback is not None and named and "print_config" not in command.callback.__annotations__:
            command.callback = configurable(command.callback)
    for group in app.registered_groups:
        if group.name in names:
            assert group.typer_instance is not None
            configure(group.typer_instance, ())


@common.guard
def read(context: typer.Context, path: Path | None) -> Path | None:
    """Put the values of the file in place of the command's defaults.

    Raises:
        UsageError: the file cannot be read or parsed, a key means nothing, or a value is of a wrong type.
    """
    if path is None or context.resilient_parsing:
        return path
    import tomllib

    try:
        content = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"--config {path} cannot be read ({error.strerror}); give a TOML file") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"--config {path}, line {line}: this is no UTF-8 text; save the file as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        last = f"at line {len(path.read_bytes().rstrip().splitlines())}, the last"
        said = str(error).replace("at end of document", last)
        raise UsageError(f"--config {path} is no valid TOML: {said}; correct that place") from error
    root = context.find_root()
    words = context.command_path.split()[1:] if context.parent is not None else []
    parameters = _parameters(context.command)
    types = get_type_hints(inspect.unwrap(context.command.callback)) if context.command.callback else {}
    values: dict[str, Any] = {}
    for key, value in _selected(content, root.command, words, path).items():
        name = str(key).replace("_", "-")
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, n=1, cutoff=0.5)
            advice = f"did you mean '{near[0]}'?" if near else f"see celebgen {' '.join(words)} --help"
            raise UsageError(f"--config {path}: there is no option '{key}' of {' '.join(words)}; {advice}")
        parameter = parameters[name]
        values[parameter.name] = _checked(context, parameter, types.get(parameter.name), name, value, path)
    context.default_map = {**(context.default_map or {}), **values}
    return path


def _selected(content: Mapping[str, Any], root: Any, words: Sequence[str], path: Path) -> dict[str, Any]:
    """The keys outside of tables, then those of the command's own table."""
    values: dict[str, Any] = {}
    level, command = content, root
    for word in [*words, None]:
        tables = {key: value for key, value in level.items() if isinstance(value, dict)}
        known = getattr(command, "commands", {})
        for key in tables:
            if key not in known:
                near = difflib.get_close_matches(str(key), [*known], n=1, cutoff=0.5)
                advice = f"did you mean [{near[0]}]?" if near else "tables are named after commands"
                raise UsageError(f"--config {path}: there is no command '{key}'; {advice}")
        if level is content or word is None:
            values |= {key: value for key, value in level.items() if key not in tables}
        elif stray := [key for key in level if key not in tables]:
            raise UsageError(f"--config {path}: '{stray[0]}' stands in the table of several commands; name one of them")
        level, command = tables.get(str(word), {}), known.get(str(word))
    return values


def _parameters(command: Any) -> dict[str, Any]:
    """Options by long name, then arguments by name, which loses its plural where an option has that name: `prompt`."""
    found: dict[str, Any] = {}
    for parameter in command.params:
        if parameter.param_type_name == "option" and parameter.name not in (*_OWN, "help"):
            for option in parameter.opts:
                if option.startswith("--"):
                    found[option.removeprefix("--")] = parameter
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            name = parameter.name.replace("_", "-")
            found.setdefault(name if name not in found else name.removesuffix("s"), parameter)
    return found


def _checked(context: typer.Context, parameter: Any, kind: Any, name: str, value: Any, path: Path) -> Any:
    """The value as the command line would have given it."""
    kinds = [k for k in (get_args(kind) if type(None) in get_args(kind) else (kind,)) if k is not type(None)]
    fitting = [_fitted(k, value) for k in kinds]
    good = [v for v in fitting if v is not None]
    if not good:
        wanted = " or ".join(dict.fromkeys(_called(k) for k in kinds))
        raise UsageError(f"--config {path}: '{name}' must be {wanted}, not {_shown(value)}")
    try:
        parameter.process_value(context, good[0])
    except typer.BadParameter as error:
        raise UsageError(f"--config {path}: '{name}' is {_shown(value)}, and {_lowered(error.message)}") from error
    return good[0]


def _fitted(kind: Any, value: Any) -> Any:
    """The value for a parameter of this type; None where it is of another type. TOML's types are not bent."""
    if get_origin(kind) is list:
        items = value if isinstance(value, list) else [value]
        fitted = [_fitted(get_args(kind)[0], item) for item in items]
        return None if None in fitted else fitted
    if get_origin(kind) is tuple:
        if not isinstance(value, list) or len(value) != len(get_args(kind)):
            return None
        fitted = [_fitted(k, item) for k, item in zip(get_args(kind), value, strict=True)]
        return None if None in fitted else tuple(fitted)
    if kind is bool:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if kind is int:
        return value if isinstance(value, int) else None
    if kind is float:
        return float(value) if isinstance(value, int | float) else None
    if kind is str and isinstance(value, int | float):  # an option that takes a number or a word
        return str(value)
    return value if isinstance(value, str) else None


def _called(kind: Any) -> str:
    if get_origin(kind) is list:
        return "a list of " + _called(get_args(kind)[0]).split(" ", 1)[1] + "s"
    if get_origin(kind) is tuple:
        return f"a list of {len(get_args(kind))} numbers"
    words = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path in quotes"}
    return words.get(kind, "a text in quotes")


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str | list | dict) else str(value)
    text = {"True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= 60 else text[:59] + "…"


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:].rstrip(".")


def toml(command: Any, title: str, values: Mapping[str, Any]) -> str:
    """Options by parameter name as TOML that `--config` reads; what is None, or belongs to one call, is left out."""
    names = {parameter.name: name for name, parameter in reversed(_parameters(command).items())}
    lines = [f"# {title}"]
    for key, value in values.items():
        if value is not None and names.get(key, _OWN[0]) not in _PASSING:
            lines.append(f"{names[key]} = {_value(value)}")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float):
        return str(value) if math.isfinite(value) else {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    if isinstance(value, bool | int):
        return str(value).lower()
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE.toml", callback=read, is_eager=True,
        help="Take options from this file; the command line wins over it.",
    ),
]  # fmt: skip
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print all options as TOML for --config, as they are resolved, and exit.")
]
