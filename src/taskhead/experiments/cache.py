"""What neighbouring runs share is made once in each process, and forgotten after a computation."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_remembered: dict[Callable, tuple[tuple, Any]] = {}


def cache_last(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function return the result of its last call again if the arguments are equal."""

    @wraps(function)
    def remembering(*args: P.args, **options: P.kwargs) -> T:
        given = (args, options)
        if function not in _remembered or _remembered[function][0] != given:
            _remembered.pop(function, None)  # frees the old result before the new one is made
            _remembered[function] = given, function(*args, **options)
        return _remembered[function][1]

    return remembering


def clear_cache() -> None:
    """Forget all results."""
    _remembered.clear()
