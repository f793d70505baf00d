"""The values of options, without pydantic for those that are already what they should be.

Typer 0.29 has pydantic look at every value, at None and defaults too. To load it takes as long as
all else that is done to refuse a text file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def spare_pydantic(parameter: Any) -> None:
    """Have Typer's `parameter` take plain values as they are."""
    if not isinstance(getattr(parameter.get_runtime_param, "__self__", None), _Plainly):
        parameter.get_runtime_param = _Plainly(parameter.get_runtime_param).itself


@dataclass(frozen=True)
class _Plainly:
    """Stands in for what converts a parameter's values in Typer 0.29 (its `RuntimeParam`)."""

    original: Callable[[], Any]  # builds Typer's own

    def itself(self) -> _Plainly:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """`value` as the command gets it. Raises Typer's errors where it is wrong."""
        wanted = param.type_descriptor.annotation
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if type(value) is type(param.default) and value == param.default:
            return value  # as the function itself has it
        if wanted is str and isinstance(value, str):
            return value
        if wanted == list[str] and isinstance(value, tuple):
            return list(value)  # of the words of the command line
        return self.original().coerce(value, param=param, ctx=ctx)
