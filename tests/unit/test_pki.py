"""What a node's PKI says, what is kept of it, and when authorities are adopted, made or refused."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from ruamel.yaml import YAML

from cpkit.errors import Refused
from cpkit.pki import Authorities, NodeIdentity, adopt, create, derived_paths, held_paths, node_files
from cpkit.pki.authorities import ENCRYPTION, PKI, SERVICE_ACCOUNT_KEY, SHARED_FILES, SIGNING
from cpkit.pki.certificates import Profile, issue
from cpkit.pki.keys import key_from_pem, new_key
from cpkit.pki.leaves import ADMIN, LEAVES
from cpkit.pki.node import super_admin
from tests.unit.cases import cases

DAY = dt.timedelta(days=1)
NODE = NodeIdentity(
    name="cp1",
    address="10.0.0.11",
    endpoint_host="api.example.org",
    endpoint_port=6443,
    service_address="10.96.0.1",
    dns_domain="cluster.local",
    extra_sans=("10.0.0.99",),
    key_type="ecdsa-p256",
    leaf_days=365,
)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
ADMINS = "kubeadm:cluster-admins"

Files = Mapping[str, str]


@pytest.fixture(scope="module")
def authorities() -> Authorities:
    return create(key_type="ecdsa-p256", ca_days=3650)


@pytest.fixture(scope="module")
def other() -> Authorities:
    return create(key_type="ecdsa-p256", ca_days=3650)


@pytest.fixture(scope="module")
def files(authorities: Authorities) -> Files:
    return laid_down(NODE, authorities, {})


def laid_down(node: NodeIdentity, authorities: Authorities, held: Files) -> Files:
    return {file.path: file.content for file in node_files(node, authorities, held)}


def leaf(files: Files, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(files[f"{PKI}/{name}.crt"].encode())


def subject(certificate: x509.Certificate) -> tuple[str, str]:
    """Common name and organization."""
    values = {attribute.oid: str(attribute.value) for attribute in certificate.subject}
    return values[NameOID.COMMON_NAME], values.get(NameOID.ORGANIZATION_NAME, "")


def sans(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in names}


def changed(before: Files, after: Files) -> set[str]:
    return {path for path in after if before.get(path) != after[path]}


# What the leaves say. The names, organizations and usages are those `kubeadm init` gives its own.

MEMBER_SANS = {"localhost", "cp1", "10.0.0.11", "127.0.0.1", "::1"}


@cases(
    ("name", "common_name", "organization", "usages", "authority"),
    [
        ("apiserver", "kube-apiserver", "", {SERVER}, "kubernetes"),
        ("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ADMINS, {CLIENT}, "kubernetes"),
        ("apiserver-etcd-client", "kube-apiserver-etcd-client", "", {CLIENT}, "etcd-ca"),
        ("front-proxy-client", "front-proxy-client", "", {CLIENT}, "front-proxy-ca"),
        ("controller-manager", "system:kube-controller-manager", "", {SERVER, CLIENT}, "kubernetes"),
        ("scheduler", "system:kube-scheduler", "", {SERVER, CLIENT}, "kubernetes"),
        ("etcd/server", "cp1", "", {SERVER, CLIENT}, "etcd-ca"),
        ("etcd/peer", "cp1", "", {SERVER, CLIENT}, "etcd-ca"),
        ("etcd/healthcheck-client", "kube-etcd-healthcheck-client", "", {CLIENT}, "etcd-ca"),
    ],
)
def test_a_leaf_says_what_kubeadm_would_have_it_say(
    files: Files, name: str, common_name: str, organization: str, usages: set[object], authority: str
) -> None:
    certificate = leaf(files, name)
    assert subject(certificate) == (common_name, organization)
    assert set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == usages
    assert certificate.issuer.rfc4514_string() == f"CN={authority}"
    key_usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert key_usage.critical
    assert (key_usage.value.digital_signature, key_usage.value.key_encipherment) == (True, True)
    assert (key_usage.value.key_cert_sign, key_usage.value.crl_sign) == (False, False)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_no_leaf_is_left_out_of_the_table_above(files: Files) -> None:
    assert {path for path in files if path.endswith(".crt") and not path.endswith("ca.crt")} == {
        f"{PKI}/{name}.crt" for name in LEAVES
    }
    assert len(LEAVES) == 9


def test_the_api_server_is_known_by_every_name_it_is_called_by(files: Files) -> None:
    assert sans(leaf(files, "apiserver")) == {
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "cp1",
        "10.96.0.1",
        "10.0.0.11",
        "127.0.0.1",
        "api.example.org",
        "10.0.0.99",
    }


def test_an_etcd_member_is_known_by_its_own_names_only(files: Files) -> None:
    assert sans(leaf(files, "etcd/server")) == sans(leaf(files, "etcd/peer")) == MEMBER_SANS


def test_addresses_are_addresses_and_not_names_that_look_like_them(files: Files) -> None:
    names = leaf(files, "apiserver").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ip_address("10.0.0.99") in names.get_values_for_type(x509.IPAddress)
    assert "10.0.0.99" not in names.get_values_for_type(x509.DNSName)


def test_every_leaf_is_signed_by_the_authority_it_names(files: Files) -> None:
    for name in LEAVES:
        certificate = leaf(files, name)
        folder = "etcd/ca" if certificate.issuer.rfc4514_string() == "CN=etcd-ca" else "ca"
        folder = "front-proxy-ca" if certificate.issuer.rfc4514_string() == "CN=front-proxy-ca" else folder
        certificate.verify_directly_issued_by(leaf(files, folder))


def test_every_key_belongs_to_its_certificate_and_to_no_other(files: Files) -> None:
    keys = [key_from_pem(files[f"{PKI}/{name}.key"]).public_key() for name in LEAVES]
    assert keys == [leaf(files, name).public_key() for name in LEAVES]
    assert len({serial(key) for key in keys}) == len(LEAVES)


def serial(key: object) -> bytes:
    assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_only_etcd_owns_what_etcd_reads_and_keys_are_for_their_owner_alone(authorities: Authorities) -> None:
    laid = node_files(NODE, authorities, {})
    assert {file.path for file in laid if file.owner == "etcd"} == {f"{PKI}/etcd/server.key", f"{PKI}/etcd/peer.key"}
    assert {file.owner for file in laid} == {"root", "etcd"}
    secret = {file.path for file in laid if "PRIVATE KEY" in file.content or "key-data" in file.content}
    assert secret
    assert {file.mode for file in laid if file.path in secret | {ENCRYPTION}} == {"0600"}


def test_the_kubeconfigs_of_services_name_files_and_that_of_the_administrator_embeds(files: Files) -> None:
    for name in ("controller-manager", "scheduler"):
        user = YAML(typ="safe").load(files[f"/etc/kubernetes/{name}.kubeconfig"])["users"][0]["user"]
        assert user == {"client-certificate": f"{PKI}/{name}.crt", "client-key": f"{PKI}/{name}.key"}
    admin = YAML(typ="safe").load(files[ADMIN])
    assert set(admin["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
    assert admin["clusters"][0]["cluster"]["server"] == "https://api.example.org:6443"


def test_a_super_admin_is_valid_for_a_day_and_on_no_node(authorities: Authorities, files: Files) -> None:
    certificate = x509.load_pem_x509_certificate(super_admin(authorities, key_type="ecdsa-p256")[0].encode())
    assert subject(certificate) == ("kubernetes-super-admin", "system:masters")
    assert certificate.not_valid_after_utc - dt.datetime.now(dt.UTC) <= DAY
    assert not any("super-admin" in path for path in files)


# What is kept.


def test_a_second_call_with_what_the_first_gave_changes_nothing(authorities: Authorities, files: Files) -> None:
    held = {path: files[path] for path in held_paths()}
    assert changed(files, laid_down(NODE, authorities, held)) == set()


def test_of_every_file_it_is_known_beforehand_that_it_lies_there(files: Files) -> None:
    assert set(files) == {*held_paths(), *derived_paths()}


def test_one_more_name_has_only_the_api_servers_leaf_issued_anew_and_keeps_its_key(
    authorities: Authorities, files: Files
) -> None:
    after = laid_down(replace(NODE, extra_sans=("10.0.0.99", "api2.example.org")), authorities, files)
    assert changed(files, after) == {f"{PKI}/apiserver.crt"}
    assert sans(leaf(after, "apiserver")) - sans(leaf(files, "apiserver")) == {"api2.example.org"}
    assert leaf(after, "apiserver").public_key() == leaf(files, "apiserver").public_key()


def test_a_name_taken_away_is_taken_out_of_the_leaf(authorities: Authorities, files: Files) -> None:
    after = laid_down(replace(NODE, extra_sans=()), authorities, files)
    assert changed(files, after) == {f"{PKI}/apiserver.crt"}
    assert "10.0.0.99" not in sans(leaf(after, "apiserver"))


def test_an_expired_leaf_is_issued_anew(authorities: Authorities, files: Files) -> None:
    key = key_from_pem(files[f"{PKI}/scheduler.key"])
    expired = issue(authorities.cluster, Profile("system:kube-scheduler"), key=key, days=0)
    held = {**files, f"{PKI}/scheduler.crt": expired.public_bytes(serialization.Encoding.PEM).decode()}
    after = laid_down(NODE, authorities, held)
    assert changed(held, after) == {f"{PKI}/scheduler.crt"}
    assert leaf(after, "scheduler").not_valid_after_utc > dt.datetime.now(dt.UTC) + 364 * DAY


@pytest.mark.parametrize("broken", ["", "-----BEGIN CERTIFICATE-----\n", "not a certificate"])
def test_a_broken_certificate_is_issued_anew_for_the_key_that_is_there(
    authorities: Authorities, files: Files, broken: str
) -> None:
    held = {**files, f"{PKI}/etcd/peer.crt": broken}
    after = laid_down(NODE, authorities, held)
    assert changed(held, after) == {f"{PKI}/etcd/peer.crt"}
    assert leaf(after, "etcd/peer").public_key() == leaf(files, "etcd/peer").public_key()


@pytest.mark.parametrize("broken", ["", "-----BEGIN EC PRIVATE KEY-----\n"])
def test_a_broken_key_is_replaced_with_its_certificate(authorities: Authorities, files: Files, broken: str) -> None:
    held = {**files, f"{PKI}/etcd/peer.key": broken}
    after = laid_down(NODE, authorities, held)
    assert changed(held, after) == {f"{PKI}/etcd/peer.crt", f"{PKI}/etcd/peer.key"}


def test_a_leaf_with_the_key_of_another_is_issued_anew(authorities: Authorities, files: Files) -> None:
    held = {**files, f"{PKI}/scheduler.key": files[f"{PKI}/controller-manager.key"]}
    after = laid_down(NODE, authorities, held)
    assert changed(held, after) == {f"{PKI}/scheduler.crt"}


def test_leaves_of_another_authority_are_not_kept(other: Authorities, files: Files) -> None:
    after = laid_down(NODE, other, files)
    assert {f"{PKI}/{name}.crt" for name in LEAVES} | {ADMIN} <= changed(files, after)


def test_an_administrators_kubeconfig_of_another_authority_is_made_anew(
    authorities: Authorities, other: Authorities, files: Files
) -> None:
    held = {**files, ADMIN: laid_down(NODE, other, {})[ADMIN]}
    after = laid_down(NODE, authorities, held)
    assert after[ADMIN] not in (held[ADMIN], files[ADMIN])
    assert changed(held, after) == {ADMIN}


def test_a_new_endpoint_changes_the_administrators_server_and_keeps_the_certificate(
    authorities: Authorities, files: Files
) -> None:
    after = laid_down(replace(NODE, endpoint_host="vip.example.org"), authorities, files)
    assert changed(files, after) == {ADMIN, f"{PKI}/apiserver.crt"}
    before_user, after_user = (YAML(typ="safe").load(text[ADMIN])["users"] for text in (files, after))
    assert before_user == after_user


# Between nodes.


def test_two_nodes_share_the_authorities_and_no_key_of_a_leaf(authorities: Authorities, files: Files) -> None:
    second = laid_down(replace(NODE, name="cp2", address="10.0.0.12"), authorities, {})
    same = {path for path in files if files[path] == second[path]}
    assert same == {*SHARED_FILES, SIGNING, f"{PKI}/sa.pub"}


def test_lifetimes_are_as_asked(authorities: Authorities, files: Files) -> None:
    now = dt.datetime.now(dt.UTC)
    for authority in (authorities.cluster, authorities.etcd, authorities.front_proxy):
        assert abs(authority.certificate.not_valid_after_utc - now - 3650 * DAY) < DAY
        assert authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert authority.certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    for name in LEAVES:
        assert abs(leaf(files, name).not_valid_after_utc - now - 365 * DAY) < DAY


def test_a_leaf_never_outlives_its_authority() -> None:
    short = create(key_type="ecdsa-p256", ca_days=30)
    files = laid_down(NODE, short, {})
    ends = {name: leaf(files, name).not_valid_after_utc for name in LEAVES}
    assert set(ends.values()) == {
        authority.certificate.not_valid_after_utc for authority in (short.cluster, short.etcd, short.front_proxy)
    }


def test_a_leaf_is_valid_on_a_node_whose_clock_is_a_little_behind(files: Files) -> None:
    assert leaf(files, "apiserver").not_valid_before_utc <= dt.datetime.now(dt.UTC) - dt.timedelta(minutes=4)


def test_the_kind_of_key_is_chosen() -> None:
    for kind, made, size in (("ecdsa-p256", ec.EllipticCurvePrivateKey, 256), ("rsa-2048", rsa.RSAPrivateKey, 2048)):
        key = new_key(kind)
        assert isinstance(key, made)
        assert key.key_size == size


def test_a_password_protected_or_foreign_key_is_not_taken_for_one_of_ours() -> None:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    foreign = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ValueError, match="neither ECDSA nor RSA"):
        key_from_pem(foreign.decode())


# Adopting.


def test_bare_nodes_are_given_new_authorities() -> None:
    assert adopt({"cp1": {}, "cp2": {}}, started=False) is None


def test_what_one_node_holds_is_given_to_all(authorities: Authorities) -> None:
    adopted = adopt({"cp1": {}, "cp2": authorities.files(), "cp3": {}}, started=True)
    assert adopted is not None
    assert adopted.files() == authorities.files()


@pytest.mark.parametrize("started", [True, False])
def test_nodes_of_different_clusters_are_never_merged(
    authorities: Authorities, other: Authorities, *, started: bool
) -> None:
    with pytest.raises(Refused) as refusal:
        adopt({"cp1": authorities.files(), "cp2": {}, "cp3": other.files()}, started=started)
    assert "cp1" in str(refusal.value)
    assert "cp3" in str(refusal.value)
    assert "cp2" not in str(refusal.value)
    assert refusal.value.hint


@cases("path", SHARED_FILES)
def test_one_different_shared_file_is_refused_by_name(authorities: Authorities, other: Authorities, path: str) -> None:
    with pytest.raises(Refused, match=f"cp2 and cp1 hold different {path}"):
        adopt({"cp1": authorities.files(), "cp2": {path: other.files()[path]}}, started=False)


@cases("missing", SHARED_FILES)
def test_an_incomplete_set_is_superseded_only_while_etcd_never_started(authorities: Authorities, missing: str) -> None:
    partial = {path: content for path, content in authorities.files().items() if path != missing}
    assert adopt({"cp1": partial, "cp2": {}}, started=False) is None
    with pytest.raises(Refused, match=missing):
        adopt({"cp1": partial, "cp2": partial}, started=True)


def test_a_started_cluster_that_lost_everything_is_not_given_new_authorities() -> None:
    with pytest.raises(Refused, match="etcd holds data"):
        adopt({"cp1": {}, "cp2": {}}, started=True)


def test_a_node_that_lost_one_file_is_given_it_back(authorities: Authorities) -> None:
    partial = {path: content for path, content in authorities.files().items() if path != SERVICE_ACCOUNT_KEY}
    adopted = adopt({"cp1": partial, "cp2": authorities.files()}, started=True)
    assert adopted is not None
    assert adopted.files() == authorities.files()


@pytest.mark.parametrize("broken", ["not a certificate", "the certificate of another"])
def test_a_broken_authority_is_refused_naming_the_node_and_the_file(
    authorities: Authorities, other: Authorities, broken: str
) -> None:
    held = authorities.files()
    held[f"{PKI}/etcd/ca.crt"] = other.etcd.certificate_pem if "another" in broken else broken
    with pytest.raises(Refused, match=r"cp2: .*etcd/ca\.crt"):
        adopt({"cp2": held}, started=True)


def test_reading_back_what_was_written_gives_the_same(authorities: Authorities) -> None:
    assert Authorities.from_files(authorities.files()).files() == authorities.files()


def test_two_clusters_never_share_a_secret(authorities: Authorities, other: Authorities) -> None:
    mine, theirs = authorities.files(), other.files()
    assert not {path for path in mine if mine[path] == theirs[path]}


def test_secrets_are_encrypted_with_a_fresh_key_and_plaintext_is_still_read(authorities: Authorities) -> None:
    body = YAML(typ="safe").load(authorities.encryption)
    (resources,) = body["resources"]
    assert resources["resources"] == ["secrets"]
    assert [next(iter(provider)) for provider in resources["providers"]] == ["secretbox", "identity"]
