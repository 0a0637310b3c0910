"""Options that several commands take alike, told once: a dataclass of them stands for all."""

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any


def unfolded(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every parameter that is a dataclass replaced by its fields, as Typer has to see them."""
    parameters = inspect.signature(command).parameters
    folded: dict[str, Any] = {
        name: each.annotation for name, each in parameters.items() if is_dataclass(each.annotation)
    }

    @wraps(command)
    def called(**given: Any) -> None:
        for name, kind in folded.items():
            given[name] = kind(**{each.name: given.pop(each.name) for each in fields(kind)})
        command(**given)

    seen: list[inspect.Parameter] = []
    for name, each in parameters.items():
        seen += _fields(folded[name]) if name in folded else [each]
    called.__signature__ = inspect.Signature(seen, return_annotation=None)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in seen}
    return called


def _fields(kind: Any) -> list[inspect.Parameter]:
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(each.name, keyword, default=each.default, annotation=each.type) for each in fields(kind)]
