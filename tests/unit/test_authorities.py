"""Which pass comes next in a rotation of authorities, for every mixture of what nodes hold; what is refused, proven."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import combinations, product

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from cpkit.errors import Refused, Unreachable
from cpkit.facts.edges import Account, Edge, token
from cpkit.facts.host import Probe, Rotation
from cpkit.facts.snapshot import Certificate, NodeFacts, Snapshot
from cpkit.health.certs import AUTHORITIES, authority_of
from cpkit.health.edges import judge_edges
from cpkit.kubeconfig import with_authority
from cpkit.operations.authorities import EMBEDDED, RESTARTS, beyond, done, passing, plan, reached, restarts, told
from cpkit.operations.presenting import Presented, strangers
from cpkit.pki.keys import PrivateKey, new_key
from cpkit.pki.succession import FILES, NAMES, STAGES, Generation, Name, Stage, flags
from cpkit.rolling import Engine, Halt, Turn, todo
from tests.unit.cases import cases
from tests.unit.health_snapshots import silence, spoiled

NODES = ("cp1", "cp2", "cp3")
CHOICES = [names for count in range(1, 5) for names in combinations(NAMES, count)]
BASE = spoiled()
BUNDLES: tuple[tuple[str, ...], ...] = (("old",), ("old", "new"), ("new", "old"), ("new",))
LEADER = next(name for name, each in BASE.etcd.statuses.items() if each.id == each.leader)


def marks(names: tuple[Name, ...]) -> dict[Name, str]:
    return {name: f"{name}-new" for name in names}


@cache
def holding(node: str, stage: int, names: tuple[Name, ...], *, aside: bool = True) -> NodeFacts:
    """A node whose files are those at the end of a stage, and whose services were started after."""
    facts = BASE.nodes[node]
    assert facts.host is not None

    def bundle(name: Name) -> list[str]:
        return [f"{name}-{each}" for each in (BUNDLES[stage] if name in names else ("old",))]

    by_path = {FILES[name][0]: name for name in NAMES}
    certificates = []
    for each in facts.certificates:
        if each.path in AUTHORITIES:
            certificates += [replace(each, fingerprint=mark, signer=mark) for mark in bundle(by_path[each.path])]
        else:
            name = by_path[authority_of(each.path)]
            generation = "new" if stage >= 2 and name in names else "old"
            certificates.append(replace(each, signer=f"{name}-{generation}"))
    embedded = Certificate(EMBEDDED, "", "", "", "", 0, 4e9, authority=True, signed_by=FILES["cluster"][0])
    certificates += [replace(embedded, fingerprint=mark) for mark in bundle("cluster")]
    rotation = Rotation(
        tokens=tuple(bundle("service_account")),
        new={str(name): mark for name, mark in marks(names).items()} if aside else {},
        changed={path: 10.0 for pair in FILES.values() for path in pair if not path.endswith("ca.key")},
    )
    units = {name: replace(unit, started=20.0) for name, unit in facts.host.units.items()}
    return replace(facts, certificates=tuple(certificates), host=replace(facts.host, rotation=rotation, units=units))


def snapshot(stages: Mapping[str, int], names: tuple[Name, ...], *, aside: bool = True) -> Snapshot:
    return seen(tuple(stages.items()), names, aside=aside)


@cache
def seen(stages: tuple[tuple[str, int], ...], names: tuple[Name, ...], *, aside: bool) -> Snapshot:
    nodes = {name: holding(name, stage, names, aside=aside) for name, stage in stages}
    return replace(BASE, nodes={**BASE.nodes, **nodes})


def changed(seen: Snapshot, node: str, **host: object) -> Snapshot:
    facts = seen.nodes[node]
    assert facts.host is not None
    return replace(seen, nodes={**seen.nodes, node: replace(facts, host=replace(facts.host, **host))})  # type: ignore[arg-type]


# What comes next.


@pytest.mark.parametrize("names", [NAMES, ("service_account",)], ids=", ".join)
def test_from_every_mixture_every_node_ends_with_the_new_alone_and_none_goes_back(names: tuple[Name, ...]) -> None:
    for mixture in product(range(4), repeat=3):
        held = dict(zip(NODES, mixture, strict=True))
        touched: list[tuple[str, Stage]] = []

        def play(turn: Turn, held: dict[str, int] = held, touched: list[tuple[str, Stage]] = touched) -> None:
            stage: Stage = turn.step.variables["authorities_stage"]
            number = STAGES.index(stage) + 1
            assert held[turn.node] < number, f"{turn.node} at {held[turn.node]} is taken to {number}"
            assert min(held.values()) >= number - 1, f"{turn.node} is taken to {number} while others are behind: {held}"
            held[turn.node] = number
            touched.append((turn.node, stage))

        if {0, 3} <= set(mixture):
            continue  # never: the last stage begins when all nodes are through the one before
        run(held, names, play)
        assert held == dict.fromkeys(NODES, 3)
        assert len(touched) == sum(3 - stage for stage in mixture), "no node is touched twice in a pass"
        for stage in STAGES:
            nodes = [node for node, each in touched if each == stage]
            assert LEADER not in nodes[:-1], "etcd's leader is last in each pass"


def run(held: dict[str, int], names: tuple[Name, ...], play: Callable[[Turn], None]) -> None:
    @contextmanager
    def step(_name: str) -> Iterator[None]:
        yield

    def stays(_seen: Snapshot, _node: str) -> None:
        """Leadership, so that it is known who is last."""

    engine = Engine(lambda: snapshot(held, names), play, step, Halt(), step_down=stays)
    engine = replace(engine, gate_wait=0.02, back_wait=0.02, pause=0.01)
    engine.run([passing(stage, marks(names), {}) for stage in STAGES])


@cases("names", CHOICES)
def test_a_node_is_done_with_a_stage_exactly_from_there_on(names: tuple[Name, ...]) -> None:
    for held, number in product(range(4), (1, 2, 3)):
        seen = snapshot(dict.fromkeys(NODES, held), names)
        judged = done(STAGES[number - 1], marks(names))
        assert {judged(seen, node) for node in NODES} == {held >= number}
        assert beyond(seen, STAGES[number - 1], marks(names)) == (held > number)


def test_how_far_one_bundle_has_come() -> None:
    assert [reached(bundle, "new") for bundle in BUNDLES] == [0, 1, 2, 3]
    assert [reached(bundle, "new") for bundle in ((), ("old", "left", "new"), ("new", "old", "left"))] == [0, 1, 2]


@cases("names", CHOICES)
def test_no_service_is_restarted_more_than_three_times_on_a_node_for_all_of_it(names: tuple[Name, ...]) -> None:
    counts = [unit for stage in STAGES for unit in restarts(stage, names)]
    assert all(counts.count(unit) <= 3 for unit in set(counts))
    assert counts.count("etcd") == (2 if "etcd" in names else 0)
    if names == ("front_proxy",):
        assert counts == []


# A node is not done before.


@cases(("stage", "unit"), [(stage, unit) for stage in STAGES for unit in RESTARTS[stage]])
def test_a_node_whose_service_has_not_read_the_files_is_not_done(stage: Stage, unit: str) -> None:
    seen = snapshot(dict.fromkeys(NODES, STAGES.index(stage) + 1), NAMES)
    host = seen.nodes["cp1"].host
    assert host is not None
    for spoiled_unit in (replace(host.units[unit], started=9.0), replace(host.units[unit], state="failed")):
        behind = changed(seen, "cp1", units={**host.units, unit: spoiled_unit})
        assert todo(passing(stage, marks(NAMES), {}), behind) == ("cp1",)


@pytest.mark.parametrize("stage", STAGES)
def test_a_node_that_kept_what_the_stage_replaced_is_not_done(stage: Stage) -> None:
    seen = snapshot(dict.fromkeys(NODES, STAGES.index(stage) + 1), NAMES)
    host = seen.nodes["cp2"].host
    assert host is not None
    assert host.rotation is not None
    for kept in STAGES:
        behind = changed(seen, "cp2", rotation=replace(host.rotation, kept=(kept,)))
        assert todo(passing(stage, marks(NAMES), {}), behind) == (("cp2",) if kept == stage else ())


def test_a_node_with_one_leaf_of_the_old_ca_is_not_done_with_issuing() -> None:
    seen = snapshot(dict.fromkeys(NODES, 2), NAMES)
    for place, each in enumerate(seen.nodes["cp3"].certificates):
        if each.path in AUTHORITIES or each.path == EMBEDDED:
            continue
        certificates = list(seen.nodes["cp3"].certificates)
        certificates[place] = replace(each, signer=each.signer.replace("new", "old"))
        nodes = {**seen.nodes, "cp3": replace(seen.nodes["cp3"], certificates=tuple(certificates))}
        assert todo(passing("issue", marks(NAMES), {}), replace(seen, nodes=nodes)) == ("cp3",), each.path


@pytest.mark.parametrize("stage", STAGES)
def test_a_node_whose_administrators_trust_something_else_is_not_done(stage: Stage) -> None:
    seen = snapshot(dict.fromkeys(NODES, STAGES.index(stage) + 1), ("cluster",))
    facts = seen.nodes["cp1"]
    without = tuple(each for each in facts.certificates if each.path != EMBEDDED)
    behind = replace(seen, nodes={**seen.nodes, "cp1": replace(facts, certificates=without)})
    assert todo(passing(stage, marks(("cluster",)), {}), behind) == ("cp1",)


# What is refused.


@cases("wanted", CHOICES)
def test_another_rotation_is_refused_while_one_is_under_way(wanted: tuple[Name, ...]) -> None:
    for names in CHOICES:
        for held in (0, 2):
            seen = snapshot(dict.fromkeys(NODES, held), names)
            if names == wanted:
                assert plan(seen, wanted).resumed
                assert plan(seen, wanted).new == marks(names)
            else:
                with pytest.raises(Refused, match="another rotation is under way") as refusal:
                    plan(seen, wanted)
                assert f"rotate-certs {flags(names)}" in refusal.value.hint


def test_a_new_rotation_begins_when_nodes_agree_and_keep_nothing_aside() -> None:
    found = plan(snapshot(dict.fromkeys(NODES, 0), NAMES, aside=False), NAMES)
    assert (found.resumed, found.new) == (False, {})


def test_a_node_that_tells_nothing_stops_it_before_it_begins() -> None:
    with pytest.raises(Unreachable, match="cp2: not known what it holds"):
        plan(spoiled(silence("cp2")), NAMES)
    seen = snapshot(dict.fromkeys(NODES, 0), NAMES, aside=False)
    with pytest.raises(Unreachable, match="cp3: not known what it holds: late"):
        plan(changed(seen, "cp3", missing={"rotation": "late"}), NAMES)


@pytest.mark.parametrize("missing", ["rotation", "certificates"])
def test_a_node_that_told_only_a_part_is_neither_done_nor_touched(missing: str) -> None:
    seen = changed(snapshot(dict.fromkeys(NODES, 1), ("etcd",)), "cp2", missing={missing: "it was late"})
    step = passing("trust", marks(("etcd",)), {})
    assert todo(step, told(seen)) == ("cp2",)
    assert told(seen).nodes["cp2"].host is None
    assert told(seen).nodes["cp2"].error == "it was late"
    assert todo(step, told(snapshot(dict.fromkeys(NODES, 1), ("etcd",)))) == ()


def test_nodes_that_differ_or_lack_a_key_are_refused_by_name() -> None:
    differ = snapshot({"cp1": 0, "cp2": 0, "cp3": 3}, ("etcd",), aside=False)
    with pytest.raises(Refused, match="cp3 and cp1 differ in etcd's CA"):
        plan(differ, ("cluster",))
    seen = snapshot(dict.fromkeys(NODES, 0), NAMES, aside=False)
    facts = seen.nodes["cp1"]
    external = tuple(
        replace(each, key="absent") if each.path == FILES["cluster"][0] else each for each in facts.certificates
    )
    seen = replace(seen, nodes={**seen.nodes, "cp1": replace(facts, certificates=external)})
    with pytest.raises(Refused, match=r"cp1: the key of .*/ca\.crt is not on the nodes"):
        plan(seen, ("cluster",))
    assert plan(seen, ("etcd",)).names == ("etcd",)


def test_two_new_ones_of_the_same_kind_are_refused() -> None:
    seen = snapshot(dict.fromkeys(NODES, 0), ("etcd",))
    host = seen.nodes["cp2"].host
    assert host is not None
    assert host.rotation is not None
    other = replace(host.rotation, new={"etcd": "another"})
    with pytest.raises(Refused, match="cp2: it keeps another new etcd's CA aside"):
        plan(changed(seen, "cp2", rotation=other), ("etcd",))


# What is proven.

YES, NO, NOBODY = Probe(status=200), Probe(status=401), Probe(error="timed out")
STRANGER = Probe(error="SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate in chain")
ALERT = Probe(error="SSLError: [SSL: TLSV1_ALERT_UNKNOWN_CA]")


@cases("stage", STAGES)
@cases("generation", ["old", "new"])
@cases("shows", [True, False])
def test_an_edge_is_well_only_when_it_says_what_it_should(stage: Stage, generation: Generation, *, shows: bool) -> None:
    served = "old" if stage == "trust" else "new"
    accepted = {"old", "new"} if stage != "distrust" else {"new"}
    wanted = generation == served if shows else generation in accepted
    answers = {YES: True, STRANGER: False} if shows else {YES: True, NO: False, ALERT: False}
    for probe, said in answers.items():
        edge = Edge("cp1", "etcd → etcd", "etcd", generation, shows, probe)
        (found,) = judge_edges({"cp1": (edge,)}, stage)
        assert (found.level == "ok") == (said == wanted), (probe, found)
        assert found.level in {"ok", "fail"}
    (found,) = judge_edges({"cp1": (Edge("cp1", "x", "etcd", generation, shows, NOBODY),)}, stage)
    assert found.level == "unknown"
    assert [each.level for each in judge_edges({"cp1": "no answer"}, stage)] == ["unknown"]


@pytest.mark.parametrize("kind", ["ecdsa-p256", "rsa-2048"])
def test_a_token_is_signed_as_an_api_server_checks_it(kind: str) -> None:
    key: PrivateKey = new_key(kind)
    head, claims, signature = token(key, Account("https://issuer", "kube-system", "default", "uid-1")).split(".")
    data, raw = f"{head}.{claims}".encode(), decoded(signature)
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        public.verify(raw, data, padding.PKCS1v15(), hashes.SHA256())
    else:
        assert len(raw) == 64
        pair = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        public.verify(pair, data, ec.ECDSA(hashes.SHA256()))
    body = json.loads(decoded(claims))
    assert body["sub"] == "system:serviceaccount:kube-system:default"
    assert body["kubernetes.io"]["serviceaccount"]["uid"] == "uid-1"


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def event(user: str, address: str, mark: str, at: str) -> str:
    extra = {"authentication.kubernetes.io/credential-id": [f"X509SHA256={mark}"]}
    body = {"user": {"username": user, "extra": extra}, "sourceIPs": [address], "requestReceivedTimestamp": at}
    return json.dumps(body, separators=(",", ":"))


def test_who_shows_an_old_certificate_is_told_once_with_when() -> None:
    old, new = "a" * 64, "b" * 64
    lines = [
        '28:00Z","user": cut at the beginning "X509SHA256=' + old + '"',
        event("kubernetes-admin", "10.9.9.9", old, "2031-05-06T07:08:00Z"),
        event("kubernetes-admin", "10.9.9.9", old, "2031-05-06T07:08:20Z"),
        event("kubernetes-admin", "10.8.8.8", new, "2031-05-06T07:08:20Z"),
        event("system:kube-scheduler", "10.0.0.11", old, "2031-05-06T07:08:20Z"),
        event("system:node:w1", "10.0.0.50", old, "2031-05-06T06:00:00Z"),
        event("cpkit-proof", "127.0.0.1", old, "2031-05-06T07:08:20Z"),
    ]
    now = 1935817710.0  # 2031-05-06T07:08:30Z
    assert strangers(lines, {new}, {"10.0.0.11"}, now, within=600.0) == (
        Presented("kubernetes-admin", "10.9.9.9", 10.0),
    )


def test_cluster_info_gets_the_new_bundle_and_is_left_alone_when_it_has_it() -> None:
    text = "apiVersion: v1\nclusters:\n- name: ''\n  cluster:\n    certificate-authority-data: b2xk\n    server: https://vip\n"
    after = with_authority(text, "bmV3")
    assert "certificate-authority-data: bmV3" in after
    assert "server: https://vip" in after
    assert with_authority(after, "bmV3") is after
