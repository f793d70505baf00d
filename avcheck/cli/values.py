"""Values of options without pydantic, where they are already right.

Typer 0.29 passes every value to pydantic, even None and defaults. Loading it takes as long as
everything else that is done to refuse a text file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def spare_pydantic(parameter: Any) -> None:
    """Have Typer's `parameter` take values that are right as they are."""
    if not isinstance(getattr(parameter.get_runtime_param, "__self__", None), _Plainly):
        parameter.get_runtime_param = _Plainly(parameter.get_runtime_param).itself


@dataclass(frozen=True)
class _Plainly:
    """Replaces the converter of a parameter's values in Typer 0.29 (its `RuntimeParam`)."""

    original: Callable[[], Any]  # builds Typer's own

    def itself(self) -> _Plainly:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """`value` as the command gets it. Raises Typer's errors if it is wrong."""
        wanted = param.type_descriptor.annotation
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if type(value) is type(param.default) and value == param.default:
            return value  # the function's own default
        if wanted is str and isinstance(value, str):
            return value
        if wanted == list[str] and isinstance(value, tuple):
            return list(value)  # words of the command line
        return self.original().coerce(value, param=param, ctx=ctx)
