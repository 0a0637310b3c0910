"""The objects of a backup as YAML: every reader takes it for the same."""

from typing import Any

import yaml  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from cpkit.backup.objects import to_yaml

ODD = (
    *(
        "yes",
        "No",
        "on",
        "y",
        "0123",
        "1e3",
        "1_000",
        "0x1f",
        "12:30",
        "~",
        "null",
        ".inf",
        "=",
        "<<",
        "a:b",
        "'",
        "{}",
    ),
    *("2031-05-06", "[]", "*", "&", "!", "%", "@", "`"),
    *("", " ", '"', "a: b", "# a", "- a", "a #b", "a\nb", "a\n", "\na", " a\nb", "a \nb", "a\n\n\nb\n\n", "\ta\nb"),
    *("a\r\nb", "a\tb", "a\n b\n", "\x1f\n", "\ufeff", "\x85", "\u2028a\nb", "a\n# b", "a\n---\nb", "a\n...\n"),
)
TEXTS = st.text(max_size=20) | st.sampled_from(ODD)
VALUES = st.recursive(
    TEXTS | st.booleans() | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=3))
def test_yaml_says_the_same_to_every_reader(body: dict[str, Any]) -> None:
    text = to_yaml(body)
    assert YAML(typ="safe", pure=True).load(text) == body
    assert yaml.safe_load(text) == body  # an older YAML, as kubectl reads it


def test_odd_texts_stay_what_they_are() -> None:
    body = {"keys": dict.fromkeys(ODD, 1), "values": list(ODD)}
    assert YAML(typ="safe", pure=True).load(to_yaml(body)) == yaml.safe_load(to_yaml(body)) == body
