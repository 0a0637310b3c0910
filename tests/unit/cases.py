"""Many small cases in one test, where what pytest does around a test takes longer than the case."""

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

Test = Callable[..., None]


def cases(names: str | tuple[str, ...], values: Iterable[Any]) -> Callable[[Test], Test]:
    """As pytest's parametrize, but in one test, whose failure names the case; no fixture is made anew between them."""
    names = (names,) if isinstance(names, str) else names
    listed = [dict(zip(names, value if len(names) > 1 else (value,), strict=True)) for value in values]
    assert listed

    def of(test: Test) -> Test:
        @wraps(test)
        def every(**fixtures: Any) -> None:
            for case in listed:
                try:
                    test(**fixtures, **case)
                except BaseException as error:
                    error.add_note(f"in the case {case}")
                    raise

        signature = inspect.signature(test)
        others = [each for name, each in signature.parameters.items() if name not in names]
        every.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return every

    return of
