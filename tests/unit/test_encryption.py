"""The keys of an EncryptionConfiguration, what a rotation has left to do, and what etcd's raw values are under."""

from base64 import b64encode
from functools import cache
from itertools import product

import pytest
from nacl.secret import SecretBox

from cpkit.errors import Refused
from cpkit.etcd import Row
from cpkit.facts.encryption import LOADED, PAGE, PLAIN, counts, encrypted_with, stored
from cpkit.operations.patching import api_path
from cpkit.pki.authorities import encryption_configuration
from cpkit.pki.encryption import Configuration, Key, parse, rotation, with_keys
from cpkit.pki.envelope import resealer
from tests.unit.cases import cases

TEXT = encryption_configuration("b2xk")
A, B = Key("key1", "b2xk"), Key("key2", "bmV3")
STAGES = ("add", "promote", "drop")
REACHED = {"": (A,), "add": (A, B), "promote": (B, A), "drop": (B,)}  # the keys of a node after a stage


@cache
def holding(*keys: Key) -> Configuration:
    return parse(with_keys(TEXT, keys))


def test_a_new_clusters_configuration_is_read() -> None:
    read = parse(TEXT)
    assert (read.keys, read.resources, read.providers) == ((A,), ("secrets",), ("secretbox", "identity"))


def test_only_the_keys_are_replaced_and_their_order_is_kept() -> None:
    read = holding(B, A)
    assert read.keys == (B, A)
    assert (read.rest, read.resources, read.providers) == (parse(TEXT).rest, ("secrets",), ("secretbox", "identity"))


def test_no_secret_is_shown() -> None:
    assert "b2xk" not in repr(holding(A)) + repr(A)


@cases(
    ("text", "why"),
    [
        ("kind: Other", "no EncryptionConfiguration"),
        ("[", "cannot be read"),
        ("", "cannot be read"),
        (TEXT.replace("secretbox", "aescbc"), "aescbc"),
        (TEXT.replace("- secrets", "- '*.*'"), "covers"),
        (TEXT.replace("- secrets", "- things.example.org"), "covers things.example.org"),
        (with_keys(TEXT, ()), "different keys"),
    ],
)
def test_what_cannot_be_rotated_is_said(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("*", "[*]")):
        parse(text)


def test_a_new_rotation_makes_the_next_key() -> None:
    plan = rotation(dict.fromkeys(("cp1", "cp2", "cp3"), holding(A)))
    assert (plan.new.name, plan.old, plan.begun) == ("key2", (A,), False)
    assert len(plan.new.secret) == 44
    assert plan.new.secret != rotation({"cp1": holding(A)}).new.secret
    assert rotation({"cp1": holding(Key("mine", "b2xk"))}).new.name == "key1"


def mixtures() -> list[tuple[str, ...]]:
    """What three nodes can have reached when a run was cut off: two stages next to one another, in every way."""
    order = ["", *STAGES]
    near = [(mine, other) for mine, other in product(order, order) if abs(order.index(mine) - order.index(other)) <= 1]
    found: set[tuple[str, ...]] = {nodes for pair in near for nodes in product(pair, repeat=3)}
    return sorted(nodes for nodes in found if set(nodes) not in ({""}, {"drop"}))


@cases("reached", mixtures())
def test_a_cut_off_run_is_taken_up_with_the_same_key(reached: tuple[str, ...]) -> None:
    nodes = {f"cp{number}": holding(*REACHED[stage]) for number, stage in enumerate(reached, 1)}
    plan = rotation(nodes)
    assert (plan.new, plan.old, plan.begun) == (B, (A,), True)
    for name, stage in zip(nodes, reached, strict=True):
        passed = STAGES[: STAGES.index(stage) + 1] if stage else ()
        assert [each for each in STAGES if plan.done(each, nodes[name].names)] == list(passed)
    assert [plan.wanted(stage) for stage in STAGES] == [(A, B), (B, A), (B,)]
    # The order of stages: no node writes with a key that another cannot read, nor loses one that another writes with.
    held = {name: each.keys for name, each in nodes.items()}
    for stage, name in product(STAGES, nodes):
        if not plan.done(stage, [key.name for key in held[name]]):
            held[name] = plan.wanted(stage)
        writes = {keys[0] for keys in held.values()}
        assert all(writes <= set(keys) for keys in held.values())
    assert set(held.values()) == {(B,)}


def test_a_run_cut_off_after_its_last_node_is_finished_and_no_other_is_begun() -> None:
    nodes = dict.fromkeys(("cp1", "cp2", "cp3"), holding(B))
    assert rotation(nodes, "key2").new == B
    assert rotation(nodes, "key2").old == ()
    assert rotation(nodes).new.name == "key3"


@pytest.mark.parametrize("provider", ["aescbc", "secretbox"])
def test_a_new_key_has_no_name_that_another_provider_uses(provider: str) -> None:
    other = f"      - {provider}:\n          keys:\n            - name: key2\n              secret: eA==\n"
    held = parse(TEXT.replace("      - identity", f"{other}      - identity"))
    assert (held.names, held.others) == (("key1",), frozenset({"key2"}))
    assert rotation({"cp1": held}).new.name == "key3"


def test_a_kms_and_the_providers_without_keys_are_read_over() -> None:
    other = "      - kms:\n          apiVersion: v2\n          name: vault\n          endpoint: unix:///run/kms.sock\n"
    assert parse(TEXT.replace("      - identity", f"{other}      - identity")).others == {"vault"}


def test_a_run_cut_off_before_its_first_node_makes_the_key_anew() -> None:
    plan = rotation({"cp1": holding(A)}, "key2")
    assert (plan.new.name, plan.begun) == ("key2", False)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (holding(Key("key1", "b3RoZXI=")), "another key"),
        (parse(TEXT.replace("- secrets", "- configmaps")), "differs"),
        (holding(A, Key("x", "eA=="), Key("key01", "eQ==")), "not known which"),
    ],
)
def test_nodes_that_do_not_fit_together_are_refused(other: Configuration, why: str) -> None:
    with pytest.raises(Refused, match=why):
        rotation({"cp1": holding(A), "cp2": other})


@cases(
    ("value", "name"),
    [
        (b"k8s:enc:secretbox:v1:key1:\x00\xff", "key1"),
        (b"k8s:enc:secretbox:v1:key10:x", "key10"),
        (b"k8s:enc:aescbc:v1:key1:x", "aescbc:key1"),
        (b"k8s:enc:kms:v2:mine:x", "kms:mine"),
        (b"k8s\x00\n\x0c", PLAIN),
        (b"", PLAIN),
    ],
)
def test_a_raw_value_tells_its_key(value: bytes, name: str) -> None:
    assert encrypted_with(value) == name


class Etcd:
    def __init__(self, held: dict[bytes, bytes]) -> None:
        self.held = [Row(key, value, 7) for key, value in sorted(held.items())]

    def rows(self, start: bytes, end: bytes, *, revision: int, limit: int) -> tuple[Row, ...]:
        assert revision == 7
        return tuple(row for row in self.held if start <= row.key < end)[:limit]


def test_objects_are_counted_by_key_over_pages_and_nothing_else_is() -> None:
    rows = {b"/registry/secrets/a/%d" % n: b"k8s:enc:secretbox:v1:key%d:x" % (1 + n % 2) for n in range(2 * PAGE + 2)}
    rows |= {b"/registry/secrets/a/plain": b"k8s\x00", b"/registry/secretsother/a": b"", b"/registry/pods/a/b": b""}
    assert counts(Etcd(rows), ("secrets", "configmaps"), 7) == {
        "secrets": {"key1": PAGE + 1, "key2": PAGE + 1, PLAIN: 1},
        "configmaps": {},
    }


def sealed(name: str, secret: bytes, content: bytes) -> bytes:
    """As the API server's provider does."""
    return b"k8s:enc:secretbox:v1:%s:" % name.encode() + SecretBox(secret).encrypt(content)


OLD_SECRET, NEW_SECRET = b"o" * 32, b"n" * 32
RESEALER = resealer(Key("key2", b64encode(NEW_SECRET).decode()), [Key("key1", b64encode(OLD_SECRET).decode())])


@cases("content", [b"k8s\x00\n\x0c", b"{}", b"", bytes(1 << 20)])
@cases("name", ["key1", "key2", ""])
def test_what_any_key_opens_is_sealed_anew_with_the_same_content(content: bytes, name: str) -> None:
    secret = {"key1": OLD_SECRET, "key2": NEW_SECRET}.get(name)
    value = RESEALER.reseal(sealed(name, secret, content) if secret else content)
    assert value
    assert encrypted_with(value) == "key2"
    assert SecretBox(NEW_SECRET).decrypt(value.removeprefix(b"k8s:enc:secretbox:v1:key2:")) == content


SEALED_OTHERWISE = {
    "the name of one key, sealed with the other": sealed("key1", NEW_SECRET, b"x"),
    "cut short": sealed("key1", OLD_SECRET, b"x")[:-1],
    "of a key that is not known": sealed("key3", OLD_SECRET, b"x"),
    "empty": b"k8s:enc:secretbox:v1:key1:",
    "of another form": b"k8s:enc:secretbox:v2:key1:" + SecretBox(OLD_SECRET).encrypt(b"x"),
    "of another provider": b"k8s:enc:aescbc:v1:key1:x",
    "the mark alone": b"k8s:enc:",
}


@cases("value", SEALED_OTHERWISE.values())
def test_what_no_key_opens_is_left_as_it_is(value: bytes) -> None:
    assert RESEALER.reseal(value) is None


def test_two_sealings_of_the_same_content_differ() -> None:
    assert RESEALER.reseal(b"x") != RESEALER.reseal(b"x")


def test_an_object_is_found_in_the_api() -> None:
    assert api_path("secrets", b"/registry/secrets/kube-system/a.b") == "/api/v1/namespaces/kube-system/secrets/a.b"
    assert api_path("namespaces", b"/registry/namespaces/default") == "/api/v1/namespaces/default"
    assert api_path("services", b"/registry/services/specs/a/b") == "/api/v1/namespaces/a/services/b"
    assert api_path("nodes", b"/registry/minions/cp1") == "/api/v1/nodes/cp1"


def test_of_resources_that_share_a_folder_only_the_covered_one_is_touched() -> None:
    rows = {b"/registry/services/specs/a/b": b"k8s\x00", b"/registry/services/endpoints/a/b": b"k8s\x00"}
    assert [row.key for page in stored(Etcd(rows), "services", 7) for row in page] == [b"/registry/services/specs/a/b"]
    assert [row.key for page in stored(Etcd(rows), "nodes", 7) for row in page] == []


def test_the_loaded_file_is_read_from_the_metric() -> None:
    metric = (
        'apiserver_encryption_config_controller_last_config_info{apiserver_id_hash="sha256:aa",hash="sha256:bb"} 1\n'
    )
    found = LOADED.search(f"# HELP x\n{metric}")
    assert found
    assert found[1] == "bb"
