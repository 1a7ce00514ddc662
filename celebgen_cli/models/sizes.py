"""Sizes of networks from JSON, as model.json and config.json hold them: the dataclasses that networks are made of."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

_Sizes = TypeVar("_Sizes")
# by the ending of a field's name: the largest number, and no list of sizes is longer than 64
BOUNDS = {("layers", "blocks", "levels"): 256, ("width", "widths", "channels", "dim", "heads"): 1 << 16}
_EMPTY: dict[str, Any] = {"int": 0, "float": 0.0, "str": ""}  # of fields that have no default


def sizes_from(kind: type[_Sizes], values: Mapping[str, Any]) -> _Sizes:
    """A dataclass of sizes, such as `UNetConfig`, from a JSON object; what is left out keeps its default.

    Raises:
        TypeError: a key is unknown, or a value is of another type than the field's default, or than the field, or
            beyond what any network here has.
    """
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    if strange := [name for name in values if name not in known]:
        raise TypeError(f"{kind.__name__} has no {', '.join(strange)}")
    for name, value in values.items():
        _check_bounds(name, value)
    return kind(**{name: _value(known[name], value) for name, value in values.items()})


def _check_bounds(name: str, value: Any) -> None:
    """Refuse sizes of which nobody could build a network, before it is tried."""
    parts = value if isinstance(value, list | tuple) else (value,)
    for endings, most in BOUNDS.items():
        if name.endswith(endings) and (len(parts) > 64 or any(type(part) is int and part > most for part in parts)):
            raise TypeError(f"{name} is {value!r:.60}, more than any network here has")


def _value(field: "Field[Any]", value: Any) -> Any:
    usual = field.default
    if usual is MISSING:
        usual = _EMPTY[getattr(field.type, "__name__", str(field.type))]
    if isinstance(usual, tuple):
        if isinstance(value, list | tuple) and all(type(one) is int for one in value):
            return tuple(value)
    elif type(usual) is float:
        if type(value) in (int, float) and math.isfinite(value):
            return value
    elif type(value) is type(usual):
        return value
    raise TypeError(f"{field.name} is {value!r:.60}, where {usual!r} would be usual")
