"""Leaves that a CA elsewhere signs: what is asked for, and every reason not to take what comes back."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from cpkit.errors import Refused, UsageError
from cpkit.facts.requests import Waiting
from cpkit.facts.snapshot import Snapshot
from cpkit.operations.rotation import refuse_absent_keys
from cpkit.operations.signing import installing, taking
from cpkit.operations.signing_folder import Place, read_folder, write_folder
from cpkit.pki import Authorities, NodeIdentity, create
from cpkit.pki.authorities import CLUSTER_CA
from cpkit.pki.certificates import Profile, certificate_to_pem, issue, profile_of
from cpkit.pki.keys import PrivateKey, key_from_pem
from cpkit.pki.leaves import ADMIN, NAMES, Leaf, leaf_path, leaves_of
from cpkit.pki.node import embedded_credentials
from cpkit.pki.requests import Offer, faults, fingerprint, request_files, request_path, signed_files
from cpkit.rolling import todo
from tests.unit.cases import cases
from tests.unit.health_snapshots import spoiled

NODE = NodeIdentity("cp1", "10.0.0.11", "10.0.0.100", 6443, "10.96.0.1", "cluster.local", (), "ecdsa-p256", 365)
LEAVES = {leaf.name: leaf for leaf in leaves_of(NODE)}
Held = dict[str, str]


@pytest.fixture(scope="module")
def authorities() -> Authorities:
    return create(key_type="ecdsa-p256", ca_days=100)


@pytest.fixture(scope="module")
def held() -> Held:
    return {file.path: file.content for file in request_files(NODE, {}, NAMES)}


def key_of(held: Held, name: str) -> PrivateKey:
    return key_from_pem(held[request_path(name, "key")])


def signed(authorities: Authorities, held: Held, name: str, profile: Profile | None = None) -> str:
    leaf = LEAVES[name]
    made = issue(leaf.signer(authorities), profile or leaf.profile, key=key_of(held, name), days=30)
    return certificate_to_pem(made)


def offer(authorities: Authorities, held: Held, name: str, pem: str) -> Offer:
    leaf = LEAVES[name]
    return Offer(pem, held[request_path(name, "csr")], leaf, leaf.signer(authorities).bundle_pem)


def test_a_request_asks_for_what_the_leaf_must_say_and_stays_as_long_as_it_fits(held: Held) -> None:
    for name, leaf in LEAVES.items():
        request = x509.load_pem_x509_csr(held[request_path(name, "csr")].encode())
        assert (profile_of(request), request.is_signature_valid) == (leaf.profile, True)
        assert request.public_key() == key_of(held, name).public_key()
    assert {file.path: file.content for file in request_files(NODE, held, NAMES)} == held
    assert {file.mode for file in request_files(NODE, held, NAMES) if file.path.endswith(".key")} == {"0600"}
    named = replace(NODE, extra_sans=("new.example.org",))
    again = {file.path: file.content for file in request_files(named, held, NAMES)}
    changed = {path for path, content in again.items() if held[path] != content}
    assert changed == {request_path("apiserver", "csr"), request_path("apiserver", "key")}
    lost = held | {request_path("scheduler", "key"): ""}
    assert request_files(NODE, lost, ["scheduler"])[0].content not in {"", held[request_path("scheduler", "key")]}


def test_what_fits_is_taken_with_the_key_that_waited(authorities: Authorities, held: Held) -> None:
    pems = {name: signed(authorities, held, name) for name in NAMES}
    assert [faults(offer(authorities, held, name, pem)) for name, pem in pems.items()] == [[]] * len(NAMES)
    there = held | {CLUSTER_CA[0]: authorities.cluster.bundle_pem}
    files = {file.path: file for file in signed_files(NODE, there, pems)}
    for name in set(NAMES) - {"admin.conf"}:
        stem = leaf_path(name).removesuffix(".crt")
        assert files[f"{stem}.crt"].content == pems[name]
        assert (files[f"{stem}.key"].content, files[f"{stem}.key"].mode) == (held[request_path(name, "key")], "0600")
        assert files[f"{stem}.key"].owner == LEAVES[name].owner
    assert embedded_credentials(files[ADMIN].content) == (pems["admin.conf"], held[request_path("admin.conf", "key")])
    with pytest.raises(ValueError, match="is not the key of the certificate"):
        signed_files(NODE, there, {"scheduler": pems["apiserver"]})


def with_groups(authorities: Authorities, held: Held) -> str:
    """What a CA makes that adds a group of its own."""
    groups = ("kubeadm:cluster-admins", "system:masters")
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return made(
        authorities, held, "admin.conf", [*subject, x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes-admin")]
    )


def as_authority(authorities: Authorities, held: Held) -> str:
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, "front-proxy-client")]
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    return made(authorities, held, "front-proxy-client", subject, constraints)


def made(
    authorities: Authorities,
    held: Held,
    name: str,
    subject: list[x509.NameAttribute[str]],
    extension: x509.ExtensionType | None = None,
) -> str:
    signer, now = LEAVES[name].signer(authorities), datetime.now(UTC)
    usages = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(signer.certificate.subject)
        .public_key(key_of(held, name).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=9))
        .add_extension(usages, critical=False)
    )
    if extension:
        builder = builder.add_extension(extension, critical=True)
    return certificate_to_pem(builder.sign(signer.key, hashes.SHA256()))


def dated(authorities: Authorities, held: Held, days: int) -> str:
    then = datetime.now(UTC) + timedelta(days=days)
    made = issue(authorities.cluster, LEAVES["scheduler"].profile, key=key_of(held, "scheduler"), days=5, now=then)
    return certificate_to_pem(made)


def named(authorities: Authorities, held: Held, **changes: object) -> str:
    profile = replace(LEAVES["apiserver"].profile, **changes)  # type: ignore[arg-type]
    return signed(authorities, held, "apiserver", profile)


SANS = LEAVES["apiserver"].profile.sans
WRONG: dict[str, tuple[str, Callable[[Authorities, Held], str], str]] = {
    "no certificate": ("apiserver", lambda _a, _h: "sorry\n", "is no certificate in PEM"),
    "another's": ("scheduler", lambda a, h: signed(a, h, "controller-manager"), "is for another key than its request"),
    "another CA": (
        "apiserver",
        lambda _a, h: signed(create(key_type="ecdsa-p256", ca_days=9), h, "apiserver"),
        "is signed by CN=kubernetes, which the node does not trust for it",
    ),
    "the wrong one of the CAs": (
        "etcd/server",
        lambda a, h: certificate_to_pem(
            issue(a.cluster, LEAVES["etcd/server"].profile, key=key_of(h, "etcd/server"), days=9)
        ),
        "is signed by CN=kubernetes",
    ),
    "ended": ("scheduler", lambda a, h: dated(a, h, -9), "ended at"),
    "not yet": ("scheduler", lambda a, h: dated(a, h, 9), "is valid only from"),
    "a name too few": ("apiserver", lambda a, h: named(a, h, sans=SANS[1:]), "does not name kubernetes"),
    "a name too many": (
        "apiserver",
        lambda a, h: named(a, h, sans=(*SANS, "evil.example.org")),
        "names evil.example.org",
    ),
    "another subject": ("apiserver", lambda a, h: named(a, h, common_name="somebody"), "is for somebody"),
    "no server": ("apiserver", lambda a, h: named(a, h, server=False, client=True), "is of use to a client"),
    "a group too many": ("admin.conf", with_groups, "puts its holder into system:masters"),
    "a CA": ("front-proxy-client", as_authority, "is a CA itself"),
}


@cases("case", WRONG)
def test_what_does_not_fit_is_told(authorities: Authorities, held: Held, case: str) -> None:
    name, make, told = WRONG[case]
    found = faults(offer(authorities, held, name, make(authorities, held)))
    assert any(told in fault for fault in found), found


# The folder.


def a_snapshot(in_use: dict[Place, str]) -> Snapshot:
    seen, nodes = spoiled(), {}
    for node, facts in seen.control_plane.items():
        certificates = tuple(
            replace(each, fingerprint=fingerprint(in_use[node, name]))
            if (name := next((n for n in NAMES if leaf_path(n) == each.path), "")) and (node, name) in in_use
            else each
            for each in facts.certificates
        )
        nodes[node] = replace(facts, certificates=certificates)
    return replace(seen, nodes={**seen.nodes, **nodes})


def test_everything_wrong_in_a_folder_is_told_at_once_and_what_is_right_is_taken(
    authorities: Authorities, held: Held, tmp_path: Path
) -> None:
    asked = ("apiserver", "etcd/peer", "scheduler")
    requests = {name: held[request_path(name, "csr")] for name in asked}
    trusted = {name: getattr(authorities, name).bundle_pem for name in ("cluster", "etcd", "front_proxy")}
    waiting = {"cp1": Waiting(requests, trusted), "cp2": Waiting({}, trusted), "cp3": Waiting({}, trusted)}
    leaves: dict[Place, Leaf] = {(node, name): leaf for node in waiting for name, leaf in LEAVES.items()}
    write_folder(tmp_path, waiting, {("cp1", name): LEAVES[name] for name in asked})
    assert (tmp_path / "cp1/etcd-peer.csr").read_text() == requests["etcd/peer"]
    assert "| `cp1/etcd-peer.csr` | etcd |" in (tmp_path / "README.md").read_text()

    def put(name: str, pem: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(pem)

    put("cp1/apiserver.crt", signed(authorities, held, "scheduler"))
    put("cp1/etcd-peer.crt", signed(authorities, held, "etcd/peer"))
    put("cp2/scheduler.crt", signed(authorities, held, "scheduler"))
    put("cp9/apiserver.crt", "whatever")
    with pytest.raises(UsageError) as refused:
        taking(leaves, waiting, read_folder(tmp_path, tuple(waiting)), a_snapshot({}))
    for line in (
        "cp9/apiserver.crt: belongs to no leaf of this cluster",
        "cp1/scheduler.crt: is missing",
        "cp1/apiserver.crt: is for another key than its request has",
        "cp1/apiserver.crt: is for system:kube-scheduler, not for kube-apiserver",
        "cp2/scheduler.crt: no request waits for it, and it is not in use",
    ):
        assert line in refused.value.message
    assert "etcd-peer" not in refused.value.message

    (tmp_path / "cp9/apiserver.crt").unlink()
    put("cp1/apiserver.crt", signed(authorities, held, "apiserver"))
    put("cp1/scheduler.crt", signed(authorities, held, "scheduler"))
    pems = {name: (tmp_path / f"cp1/{name.replace('/', '-')}.crt").read_text() for name in asked}
    seen = a_snapshot({("cp2", "scheduler"): (tmp_path / "cp2/scheduler.crt").read_text()})
    found = taking(leaves, waiting, read_folder(tmp_path, tuple(waiting)), seen)
    assert found.certificates == {"cp1": pems}, "what is in use already is left alone"
    assert todo(installing(found), seen) == ("cp1",)
    assert todo(installing(found), a_snapshot({("cp1", name): pem for name, pem in pems.items()})) == ()
    some = taking(leaves, waiting, read_folder(tmp_path, tuple(waiting)), seen, frozenset({"scheduler"}))
    assert some.answered == {"cp1": [request_path("scheduler", "key"), request_path("scheduler", "csr")]}


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    assert read_folder(tmp_path / "new", ("cp1",)).certificates == {}
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is no folder"):
        read_folder(tmp_path / "file", ("cp1",))


def test_without_the_key_of_a_ca_nothing_is_signed() -> None:
    seen = spoiled()
    refuse_absent_keys(seen, tuple(seen.control_plane))
    facts = seen.nodes["cp2"]
    without = tuple(replace(each, key="absent") if each.path == CLUSTER_CA[0] else each for each in facts.certificates)
    seen = replace(seen, nodes={**seen.nodes, "cp2": replace(facts, certificates=without)})
    refuse_absent_keys(seen, ("cp1", "cp3"))
    with pytest.raises(Refused, match=r"cp2|ca.crt is not there"):
        refuse_absent_keys(seen, ("cp2",))
