"""What a carried module finds in the place of ansible.module_utils.basic; it runs on nodes, with Python 3.9."""

from __future__ import annotations

import json
import sys

from cpkit_given import ANSWER, ARGUMENTS, CHECK, DIFF  # type: ignore[import-not-found]

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from typing import Any, NoReturn

YES, NO = {"yes", "on", "1", "true", "y"}, {"no", "off", "0", "false", "n"}


class AnsibleModule:
    """The arguments of a module as its specification wants them, and the two ways to end."""

    def __init__(self, argument_spec: dict[str, Any], *, supports_check_mode: bool) -> None:
        """A module that does not support check mode is none of cpkit's."""
        assert supports_check_mode  # noqa: S101 - said to who writes one
        self.check_mode, self._diff = CHECK, DIFF
        try:
            self.params = _filled(argument_spec, json.loads(ARGUMENTS))
        except ValueError as error:
            self.fail_json(str(error))

    def exit_json(self, **result: Any) -> NoReturn:
        """End well."""
        _tell(result, 0)

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        """End badly, and say why."""
        _tell({**result, "failed": True, "msg": msg}, 1)


def _tell(result: dict[str, Any], code: int) -> NoReturn:
    print(ANSWER + json.dumps({"changed": False, **result}), flush=True)  # noqa: T201 - the answer
    sys.exit(code)


def _filled(specification: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(given.keys() - specification.keys())
    if unknown:
        raise ValueError(f"Unsupported parameters: {', '.join(unknown)}")
    missing = sorted(name for name, rule in specification.items() if rule.get("required") and name not in given)
    if missing:
        raise ValueError(f"missing required arguments: {', '.join(missing)}")
    return {
        name: _value(name, rule, given[name]) if name in given else rule.get("default")
        for name, rule in specification.items()
    }


def _value(name: str, rule: dict[str, Any], value: Any) -> Any:
    if value is None:
        return "" if rule["type"] == "str" else None
    made = _of_kind(name, rule["type"], value)
    if rule.get("choices") and made not in rule["choices"]:
        raise ValueError(f"value of {name} must be one of: {', '.join(rule['choices'])}, got: {made}")
    if rule["type"] != "list":
        return made
    elements = [_of_kind(name, rule["elements"], each) for each in made]
    return [_filled(rule["options"], each) for each in elements] if rule.get("options") else elements


def _of_kind(name: str, kind: str, value: Any) -> Any:
    if kind == "bool" and str(value).lower() in YES | NO:
        return str(value).lower() in YES
    if kind == "int" and isinstance(value, (int, str)) and not isinstance(value, bool):
        return int(value)
    if kind == "str" and not isinstance(value, (dict, list)):
        return str(value)
    if kind in {"list", "dict"} and isinstance(value, {"list": list, "dict": dict}[kind]):
        return value
    raise ValueError(f"argument '{name}' is no {kind}")
