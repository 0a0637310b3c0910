"""Leaves that a node makes anew by itself, with openssl: as cpkit issues them, or not at all."""

import json
import subprocess
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from cpkit.errors import Refused
from cpkit.pki import NodeIdentity, create
from cpkit.pki.authorities import Authorities
from cpkit.pki.certificates import Authority, certificate_to_pem, issue, misfit
from cpkit.pki.keys import key_from_pem, key_to_pem, new_key
from cpkit.pki.leaves import ADMIN, LEAVES, NAMES, leaves_of
from cpkit.pki.node import embedded_credentials, leaf_files
from cpkit.renewing import holding, shipping
from cpkit.renewing.settings import Leaf
from tests.contract.scheduled import python

DAY = 86400.0
NODE = NodeIdentity(
    "cp1", "10.0.0.11", "10.0.0.100", 6443, "10.96.0.1", "cluster.local", ("api.example.org",), "ecdsa-p256", 365
)


@pytest.fixture(scope="module", params=["ecdsa-p256", "rsa-2048"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def authorities(kind: str) -> Authorities:
    return create(key_type=kind, ca_days=3650)


@pytest.fixture
def node(authorities: Authorities, kind: str, tmp_path: Path) -> dict[str, Leaf]:
    """Every leaf of a node, below a folder."""
    lying = {file.path: file.content for file in leaf_files(replace(NODE, key_type=kind), authorities, {})}
    for path, content in (authorities.files() | lying).items():
        place = tmp_path / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    return {name: below(tmp_path, shipping.leaf(name)) for name in NAMES}


def below(root: Path, leaf: Leaf) -> Leaf:
    places = {
        field: f"{root}{value}" for field, value in asdict(leaf).items() if field not in {"name", "port"} and value
    }
    return replace(leaf, **places)


def signer(authorities: Authorities, name: str) -> Authority:
    return next(leaf.signer(authorities) for leaf in leaves_of(NODE) if leaf.name == name)


def test_every_leaf_made_anew_says_what_cpkit_issues(
    node: dict[str, Leaf], authorities: Authorities, kind: str
) -> None:
    now = datetime.now(UTC).timestamp()
    for described in leaves_of(NODE):
        held = holding.read(node[described.name])
        holding.refuse_misfit(held)
        files = holding.renewed(held, key_type=kind, days=30, now=now)
        if described.path == ADMIN:
            (kubeconfig,) = files.values()
            certificate, key = embedded_credentials(kubeconfig)
            assert kubeconfig.count("\n") == Path(held.leaf.certificate).read_text().count("\n")
        else:
            key, certificate = files[held.leaf.key], files[held.leaf.certificate]
        made, before = (
            x509.load_pem_x509_certificate(certificate.encode()),
            x509.load_pem_x509_certificate(held.pem.encode()),
        )
        loaded = key_from_pem(key)
        assert misfit(made, described.profile, described.signer(authorities), loaded) == ""
        assert key_to_pem(loaded) == key, "the traditional form"
        assert type(loaded) is type(new_key(kind))
        assert [*made.extensions] == [*before.extensions]
        assert (made.subject, made.issuer) == (before.subject, before.issuer)
        assert made.serial_number != before.serial_number
        assert made.public_key() != before.public_key()
        assert abs(made.not_valid_after_utc.timestamp() - now - 30 * DAY) < 2
        assert 290 < now - made.not_valid_before_utc.timestamp() < 310
        assert held.certificate.serial == f"{before.serial_number:x}"
        assert held.certificate.not_after == before.not_valid_after_utc.timestamp()


def test_a_leaf_never_outlives_its_authority(node: dict[str, Leaf], authorities: Authorities, kind: str) -> None:
    held = holding.read(node["scheduler"])
    files = holding.renewed(held, key_type=kind, days=36500, now=datetime.now(UTC).timestamp())
    made = x509.load_pem_x509_certificate(files[held.leaf.certificate].encode())
    assert made.not_valid_after_utc == authorities.cluster.certificate.not_valid_after_utc
    assert made.not_valid_after_utc.year < 2050


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        ("bundle", "holds 2 CAs"),
        ("no key", "is not here"),
        ("other key", "does not belong to its certificate"),
        ("other leaf key", "the key of scheduler does not belong to it"),
        ("other CA", "is signed by another CA"),
    ],
)
def test_what_a_timer_should_not_mend_is_refused(
    node: dict[str, Leaf], authorities: Authorities, kind: str, spoil: str, why: str
) -> None:
    leaf = node["scheduler"]
    other = create(key_type=kind, ca_days=100).cluster
    authority, key = Path(leaf.authority), Path(leaf.authority_key)
    if spoil == "bundle":
        authority.write_text(authority.read_text() + other.certificate_pem)
    elif spoil == "no key":
        key.unlink()
    elif spoil == "other key":
        key.write_text(other.key_pem)
    elif spoil == "other leaf key":
        Path(leaf.key).write_text(key_to_pem(new_key(kind)))
    else:
        authority.write_text(other.certificate_pem)
        key.write_text(other.key_pem)
    with pytest.raises(Refused, match=why):
        holding.refuse_misfit(holding.read(leaf))


def test_what_ends_soon_is_due_by_the_rule_of_rotate_certs(
    node: dict[str, Leaf], authorities: Authorities, kind: str
) -> None:
    now = datetime.now(UTC)
    for name, age, days in (
        ("apiserver", 276, 365),
        ("scheduler", 0, 365),
        ("etcd/peer", 0.7, 1),
        ("admin.conf", 0, 1),
    ):
        described, leaf = next(each for each in leaves_of(NODE) if each.name == name), node[name]
        key = new_key(kind)
        made = issue(
            described.signer(authorities), described.profile, key=key, days=days, now=now - timedelta(days=age)
        )
        if leaf.key:
            Path(leaf.certificate).write_text(certificate_to_pem(made))
            Path(leaf.key).write_text(key_to_pem(key))
    found = holding.due(map(holding.read, node.values()), now.timestamp())
    assert set(found) == {"apiserver", "etcd/peer"}


def test_the_program_runs_on_the_standard_library_alone(tmp_path: Path) -> None:
    for path, text in shipping.program().items():
        place = tmp_path / Path(path).relative_to(shipping.PROGRAM)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    names = [f"cpkit.{name.replace('/', '.')}" for name in shipping.MODULES]
    line = f"import sys, importlib; sys.path.insert(0, {str(tmp_path)!r}); "
    done = subprocess.run(
        [python(), "-ISB", "-c", f"{line}[importlib.import_module(name) for name in {names}]"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_settings_name_every_leaf_and_where_it_is_served() -> None:
    told = {"cluster": "prod", "node": "cp1", "address": "10.0.0.11", "calendar": "daily UTC", "metrics": ""}
    told |= {"key_type": "ecdsa-p256", "leaf_days": 365, "members": {"cp1": "127.0.0.1:2379"}}  # type: ignore[dict-item]
    ((path, text),) = shipping.settings(told).items()
    assert path == shipping.SETTINGS
    leaves = json.loads(text)["leaves"]
    assert [each["name"] for each in leaves] == [*LEAVES, "admin.conf"]
    assert sorted(each["port"] for each in leaves if each["port"]) == ["10257", "10259", "2379", "2380", "6443"]
    assert {each["name"]: each["authority"].rpartition("/pki/")[2] for each in leaves}["apiserver-etcd-client"] == (
        "etcd/ca.crt"
    )
