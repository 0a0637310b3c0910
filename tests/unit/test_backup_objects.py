import json
from typing import Any

import yaml  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from cpkit.backup.objects import applicable, listed, to_yaml

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


def test_lines_stay_lines() -> None:
    assert to_yaml({"data": {"a": "one\ntwo\n", "b": "yes", "c": "word"}}) == (
        'data:\n  a: |\n    one\n    two\n  b: "yes"\n  c: word\n'
    )


def test_what_the_server_fills_in_is_removed_and_told() -> None:
    held = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "uid": "1",
            "resourceVersion": "7",
            "generation": 3,
            "creationTimestamp": "2031-05-06T07:08:09Z",
            "managedFields": [{}],
            "ownerReferences": [{"uid": "2"}],
            "labels": {"uid": "kept"},
            "finalizers": ["kept"],
        },
        "spec": {"status": "kept", "template": {"metadata": {"creationTimestamp": None}}},
        "status": {"replicas": 3},
    }
    before = json.dumps(held)
    made, removed = applicable(held)
    assert json.dumps(held) == before
    assert made == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"uid": "kept"}, "finalizers": ["kept"]},
        "spec": {"status": "kept", "template": {"metadata": {"creationTimestamp": None}}},
    }
    assert sorted(removed) == [
        "metadata.creationTimestamp",
        "metadata.generation",
        "metadata.managedFields",
        "metadata.ownerReferences",
        "metadata.resourceVersion",
        "metadata.uid",
        "status",
    ]
    assert applicable(made) == (made, ())


def test_several_objects_are_one_document() -> None:
    assert listed([{"a": 1}, {"b": 2}]) == {"apiVersion": "v1", "kind": "List", "items": [{"a": 1}, {"b": 2}]}
