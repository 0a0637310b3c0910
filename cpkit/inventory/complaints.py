"""The model's complaints in the inventory's words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from cpkit.inventory.problems import did_you_mean
from cpkit.inventory.spec import ClusterSpec

FIELDS = ClusterSpec.model_fields

_TEXTS = {
    "string_type": "must be text; write it in quotes, as {quoted}",
    "int_type": "must be a whole number, not {value!r}",
    "int_parsing": "must be a whole number, not {value!r}",
    "int_from_float": "must be a whole number, not {value!r}",
    "bool_type": "must be true or false, not {value!r}",
    "bool_parsing": "must be true or false, not {value!r}",
    "dict_type": "must be a mapping, as {{name: value}}",
    "tuple_type": "must be a list, as [one, two]",
    "greater_than_equal": "must be at least {ge}, not {value!r}",
    "less_than_equal": "must be at most {le}, not {value!r}",
    "ip_v4_network": "{value!r} is no IPv4 network, as 10.96.0.0/12 (without bits set behind the prefix)",
}
_FORMS = {
    "cluster_name": "must be 1 to 53 of a-z, 0-9 and -, with neither end a -; it is {value!r}",
    "etcd_data_dir": "must be an absolute path, not {value!r}",
    "etcd_auto_compaction_retention": "must be hours or a duration, as 8h or 30m, not {value!r}",
    "cluster_feature_gates": "is no feature gate's name",
}


@dataclass(frozen=True)
class Complaint:
    """What is wrong with which variable, or with some value inside it."""

    names: tuple[str, ...]  # more than one when they contradict each other
    inside: tuple[str | int, ...]
    text: str


def complaints(error: ValidationError, values: Mapping[str, Any]) -> Iterator[Complaint]:
    """Every complaint of the model about these values."""
    for item in error.errors(include_url=False):
        message = item["msg"].removeprefix("Value error, ")
        if not item["loc"]:
            names = tuple(word for word in message.split() if word in values)
            yield Complaint(names or tuple(values), (), message)
            continue
        name, *inside = item["loc"]
        if name not in FIELDS:  # another model inside the loader's own values; there is none today
            continue
        here = tuple(part for part in inside if part != "[key]")
        yield Complaint((str(name),), here, _text(str(name), here, dict(item), message))


def _text(name: str, inside: tuple[str | int, ...], item: dict[str, Any], message: str) -> str:
    whole = ".".join([name, *map(str, inside)])
    value = item["input"]
    match item["type"]:
        case "missing":
            return f"{name} is missing: {FIELDS[name].description}"
        case "literal_error":
            choices = [word.strip("'") for word in item["ctx"]["expected"].replace(" or ", ", ").split(", ")]
            return (
                f"{whole} {value!r} is not known{did_you_mean(str(value), choices)} It is one of {', '.join(choices)}"
            )
        case "string_pattern_mismatch" if "[key]" in item["loc"] and name != "cluster_feature_gates":
            return f"{whole}: a flag is written without dashes, as v or audit-log-maxage"
        case "string_pattern_mismatch":
            return f"{whole} {_FORMS.get(name, 'has a wrong form: {value!r}').format(value=value)}"
        case "value_error":
            return f"{whole}: {message}"
    text = _TEXTS.get(item["type"], message)
    return f"{whole} {text.format(value=value, quoted=_quoted(value), **item.get('ctx', {}))}"


def _quoted(value: Any) -> str:
    return f'"{str(value).lower() if isinstance(value, bool) else value}"'
