"""Sizes of networks from JSON, as model.json and config.json hold them: the dataclasses that networks are made of."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

_Sizes = TypeVar("_Sizes")
_EMPTY: dict[str, Any] = {"int": 0, "float": 0.0, "str": ""}  # of fields that have no default


def sizes_from(kind: type[_Sizes], values: Mapping[str, Any]) -> _Sizes:
    """A dataclass of sizes, such as `UNetConfig`, from a JSON object; what is left out keeps its default.

    Raises:
        TypeError: a key is unknown, or a value is of another type than the field's default, or than the field.
    """
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    if strange := [name for name in values if name not in known]:
        raise TypeError(f"{kind.__name__} has no {', '.join(strange)}")
    return kind(**{name: _value(known[name], value) for name, value in values.items()})


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
