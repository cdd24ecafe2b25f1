"""One rule for settings: None means the default."""
import functools
import inspect
from collections.abc import Callable


def none_means_default(function: Callable) -> Callable:
    """The same function, but None for a setting gives the default in the function's signature."""
    signature = inspect.signature(function)
    empty = inspect.Parameter.empty
    defaults = {name: parameter.default for name, parameter in signature.parameters.items()
                if parameter.default is not empty}

    @functools.wraps(function)
    def call(*args, **settings):
        bound = signature.bind(*args, **settings)
        for name, value in bound.arguments.items():
            if value is None and name in defaults:
                bound.arguments[name] = defaults[name]
        return function(*bound.args, **bound.kwargs)
    return call
