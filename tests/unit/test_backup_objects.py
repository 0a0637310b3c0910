import json

from cpkit.backup.objects import applicable, listed, to_yaml


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
