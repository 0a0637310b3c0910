"""What a node is given at each stage of a rotation of authorities, for every choice of them."""

from collections.abc import Callable, Mapping
from functools import cache
from itertools import combinations

import pytest
from cryptography import x509

from cpkit.pki import Authorities, NodeIdentity, create, handed_files, node_files
from cpkit.pki.authorities import ENCRYPTION, PKI, SERVICE_ACCOUNT_PUBLIC, SIGNING
from cpkit.pki.certificates import Authority
from cpkit.pki.leaves import ADMIN, LEAVES
from cpkit.pki.node import embedded_credentials
from cpkit.pki.succession import FILES, NAMES, ROTATION, STAGES, Name, Stage, Succession, begin, fingerprint, taken_up
from tests.unit.cases import cases

NODE = NodeIdentity("cp1", "10.0.0.11", "vip", 6443, "10.96.0.1", "cluster.local", (), "ecdsa-p256", 365)
CHOICES = [names for count in range(1, 5) for names in combinations(NAMES, count)]
CAS: tuple[Name, ...] = NAMES[:3]
SIGNED: Mapping[Name, set[str]] = {
    "cluster": {"apiserver", "apiserver-kubelet-client", "controller-manager", "scheduler"},
    "etcd": {"apiserver-etcd-client", "etcd/server", "etcd/peer", "etcd/healthcheck-client"},
    "front_proxy": {"front-proxy-client"},
    "service_account": set(),
}


@pytest.fixture(scope="module")
def old() -> Authorities:
    return create(key_type="ecdsa-p256", ca_days=3650)


Walk = tuple[Succession, dict[str, dict[str, str]]]


@cache
def made(old: Authorities, names: tuple[Name, ...]) -> Succession:
    return begin(old, names, key_type="ecdsa-p256", ca_days=3650)


def ca(authorities: Authorities, name: str) -> Authority:
    found: Authority = getattr(authorities, name)
    return found


def laid_down(succession: Succession, stage: Stage, held: Mapping[str, str]) -> dict[str, str]:
    """The files of a node after a stage, as the play lays them down."""
    handed = succession.files(stage)
    authorities = Authorities.from_files({**held, **handed})
    return {**held, **{file.path: file.content for file in handed_files(NODE, authorities, held, handed)}}


@pytest.fixture(scope="module")
def before(old: Authorities) -> dict[str, str]:
    """The files of a node ahead of the first stage."""
    return {file.path: file.content for file in node_files(NODE, old, {})}


@pytest.fixture(scope="module")
def walk(old: Authorities, before: dict[str, str]) -> Callable[[tuple[Name, ...]], Walk]:
    """What a node holds ahead of a rotation, under "", and after each of its stages."""

    @cache
    def walked(names: tuple[Name, ...]) -> Walk:
        succession, files = made(old, names), {"": before}
        for earlier, stage in zip(("", *STAGES), STAGES, strict=False):
            files[stage] = laid_down(succession, stage, files[earlier])
        return succession, files

    return walked


def bundle(files: Mapping[str, str], path: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(files[path].encode())


@pytest.mark.parametrize("names", CHOICES, ids=", ".join)
def test_each_stage_holds_what_it_promises_and_touches_nothing_else(
    walk: Callable[[tuple[Name, ...]], Walk], names: tuple[Name, ...]
) -> None:
    succession, files = walk(names)
    for earlier, stage in zip(("", *STAGES), STAGES, strict=False):
        changed = {path for path in files[stage] if files[stage][path] != files[earlier].get(path)}
        mine = {path for name in names for path in FILES[name]} | {SIGNING, ADMIN}
        leaves = {f"{PKI}/{leaf}.{kind}" for name in names for leaf in SIGNED[name] for kind in ("crt", "key")}
        assert {path for path in changed if not path.startswith(ROTATION)} <= mine | leaves
        assert ENCRYPTION not in succession.files(stage)
        assert Authorities.from_files(files[stage]).files() == succession.at(stage).files()
    for name in set(names) & set(CAS):
        first, second = ca(succession.old, name).certificate, ca(succession.new, name).certificate
        assert [bundle(files[stage], FILES[name][0]) for stage in STAGES] == [
            [first, second],
            [second, first],
            [second],
        ]
        assert first.subject == second.subject
        assert identifier(first) != identifier(second)
    if "service_account" in names:
        keys = [files[stage][SERVICE_ACCOUNT_PUBLIC].count("BEGIN PUBLIC KEY") for stage in STAGES]
        assert keys == [2, 2, 1]
        assert files["issue"][FILES["service_account"][1]] == files["distrust"][FILES["service_account"][1]]
        assert files["trust"][FILES["service_account"][1]] == files[""][FILES["service_account"][1]]


@cases("names", CHOICES)
def test_leaves_are_issued_anew_with_new_keys_in_the_second_stage_alone(
    walk: Callable[[tuple[Name, ...]], Walk], names: tuple[Name, ...]
) -> None:
    _, files = walk(names)
    held, trusting, issued, final = (files[stage] for stage in ("", *STAGES))
    renewed = {leaf for name in names for leaf in SIGNED[name]}
    for leaf in LEAVES:
        for path in (f"{PKI}/{leaf}.crt", f"{PKI}/{leaf}.key"):
            assert trusting[path] == held[path]
            assert (issued[path] != held[path]) == (leaf in renewed)
            assert final[path] == issued[path]
    pairs = [embedded_credentials(files[ADMIN]) for files in (held, trusting, issued, final)]
    assert pairs[0] == pairs[1]
    assert (pairs[1] != pairs[2]) == ("cluster" in names)
    assert pairs[2] == pairs[3]
    assert len(bundle(trusting, SIGNING)) == len(bundle(issued, SIGNING)) == 1


def identifier(certificate: x509.Certificate) -> bytes:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


@pytest.mark.parametrize("names", CHOICES, ids=", ".join)
def test_any_node_at_any_stage_gives_the_whole_rotation_back(
    old: Authorities, before: dict[str, str], names: tuple[Name, ...]
) -> None:
    succession = made(old, names)
    whole = {each: succession.files(each) for each in STAGES}
    for stage in STAGES:
        again = taken_up({**before, **whole[stage]}, names)
        assert {each: again.files(each) for each in STAGES} == whole, stage
        assert again.fingerprints == succession.fingerprints, stage
        assert all(fingerprint(old, name) != mark for name, mark in again.fingerprints.items()), stage


def test_what_an_earlier_rotation_left_trusted_stays_so_until_the_last_stage(old: Authorities) -> None:
    half = made(old, ("cluster", "service_account")).at("issue")
    succession = made(half, ("cluster", "service_account"))
    assert [len(succession.at(stage).cluster.also) + 1 for stage in STAGES] == [3, 3, 1]
    assert [len(succession.at(stage).also_verifies) + 1 for stage in STAGES] == [3, 3, 1]


def test_a_bundle_of_another_first_key_is_not_taken_for_trusted(old: Authorities) -> None:
    other = create(key_type="ecdsa-p256", ca_days=10)
    spoiled = {**old.files(), SERVICE_ACCOUNT_PUBLIC: other.files()[SERVICE_ACCOUNT_PUBLIC]}
    assert Authorities.from_files(spoiled).files() == old.files()
    with pytest.raises(ValueError, match=r"/ca\.crt: the private key does not belong"):
        Authorities.from_files(
            {**old.files(), FILES["cluster"][0]: other.cluster.certificate_pem + old.cluster.bundle_pem}
        )
