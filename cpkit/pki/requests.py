"""Leaves that a CA elsewhere signs: their requests and keys, and what is wrong with a certificate that comes back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from cpkit.pki.authorities import CLUSTER_CA, Held
from cpkit.pki.certificates import (
    Profile,
    certificate_to_pem,
    difference,
    extended_usages,
    general_names,
    key_usage,
    profile_of,
    subject_of,
)
from cpkit.pki.keys import key_from_pem, key_to_pem, new_key
from cpkit.pki.leaves import ADMIN, NAMES, Leaf, NodeIdentity, leaves_of
from cpkit.pki.node import NodeFile, administrators

REQUESTS = "/var/lib/cpkit/requests"
WEAK = (hashes.SHA1, hashes.MD5)


@dataclass(frozen=True)
class Offer:
    """A certificate that was signed elsewhere, what it must answer, and the CAs that are trusted where it is shown."""

    pem: str
    request: str
    leaf: Leaf
    trusted: str


def request_path(name: str, kind: str) -> str:
    """Where a node keeps the request of a leaf, or the key that waits for its certificate."""
    return f"{REQUESTS}/{name}.{kind}"


def request_paths() -> tuple[str, ...]:
    """Every file that a request may consist of."""
    return tuple(request_path(name, kind) for name in NAMES for kind in ("key", "csr"))


def request_files(node: NodeIdentity, held: Held, names: Sequence[str]) -> tuple[NodeFile, ...]:
    """A new key with its request for each of these leaves; a request that still fits stays with its key."""
    return tuple(_request_files(node, held, names))


def signed_files(node: NodeIdentity, held: Held, signed: Mapping[str, str]) -> tuple[NodeFile, ...]:
    """Leaves with the keys that waited for them; KeyError or ValueError when one has no key or another's."""
    return tuple(_signed_files(node, held, signed))


def faults(offer: Offer) -> list[str]:
    """All that is wrong with a certificate that came back; empty when it may be taken into use."""
    try:
        certificate = x509.load_pem_x509_certificate(offer.pem.encode())
    except ValueError:
        return ["is no certificate in PEM"]
    request = x509.load_pem_x509_csr(offer.request.encode())
    found = [] if certificate.public_key() == request.public_key() else ["is for another key than its request has"]
    return [*found, *_chain(certificate, offer), *_dates(certificate), *_words(certificate, offer.leaf.profile)]


def fingerprint(pem: str) -> str:
    """What tells a certificate from others; empty for what is none."""
    try:
        return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()
    except ValueError:
        return ""


def _chain(certificate: x509.Certificate, offer: Offer) -> Iterator[str]:
    if isinstance(certificate.signature_hash_algorithm, WEAK):
        yield f"is signed with {certificate.signature_hash_algorithm.name}, which the services refuse"
        return
    for authority in x509.load_pem_x509_certificates(offer.trusted.encode()):
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return
    yield f"is signed by {certificate.issuer.rfc4514_string() or 'nobody'}, which the node does not trust for it"


def _dates(certificate: x509.Certificate) -> Iterator[str]:
    now = datetime.now(UTC)
    if certificate.not_valid_before_utc > now:
        yield f"is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on"
    if certificate.not_valid_after_utc <= now:
        yield f"ended at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"


def _words(certificate: x509.Certificate, wanted: Profile) -> Iterator[str]:
    """Whom it is for and what it may be used for."""
    if different := difference(profile_of(certificate), wanted):
        yield different
    # Each organization is a group, whoever signed it in.
    groups = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if surplus := [group for group in groups if group != wanted.organization]:
        yield f"puts its holder into {', '.join(surplus)}"
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            yield "is a CA itself"
        if isinstance(extension.value, x509.KeyUsage) and not extension.value.digital_signature:
            yield "may not be used for signatures, so for no handshake"


def _request_files(node: NodeIdentity, held: Held, names: Sequence[str]) -> Iterator[NodeFile]:
    for leaf in leaves_of(node):
        if leaf.name not in names:
            continue
        request, key = (held.get(request_path(leaf.name, kind), "") for kind in ("csr", "key"))
        if not _fits(request, key, leaf):
            request, key = _new_request(leaf, node.key_type)
        yield NodeFile(request_path(leaf.name, "key"), key, "0600")
        yield NodeFile(request_path(leaf.name, "csr"), request, "0644")


def _fits(request: str, key: str, leaf: Leaf) -> bool:
    try:
        loaded = x509.load_pem_x509_csr(request.encode())
        own = loaded.public_key() == key_from_pem(key).public_key()
    except ValueError:
        return False
    return own and not difference(profile_of(loaded), leaf.profile)


def _new_request(leaf: Leaf, key_type: str) -> tuple[str, str]:
    key = new_key(key_type)
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject_of(leaf.profile))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(extended_usages(leaf.profile)), critical=False)
    )
    if leaf.profile.sans:
        names = x509.SubjectAlternativeName(general_names(leaf.profile.sans))
        builder = builder.add_extension(names, critical=False)
    return certificate_to_pem(builder.sign(key, hashes.SHA256())), key_to_pem(key)


def _signed_files(node: NodeIdentity, held: Held, signed: Mapping[str, str]) -> Iterator[NodeFile]:
    for leaf in leaves_of(node):
        if leaf.name not in signed:
            continue
        certificate = x509.load_pem_x509_certificate(signed[leaf.name].encode())
        key = held[request_path(leaf.name, "key")]
        if key_from_pem(key).public_key() != certificate.public_key():
            raise ValueError(f"{request_path(leaf.name, 'key')} is not the key of the certificate")
        pem = certificate_to_pem(certificate)  # alone, without whatever else the file has
        if leaf.path == ADMIN:
            yield administrators(node, held[CLUSTER_CA[0]], pem, key)
        else:
            yield NodeFile(leaf.path.removesuffix(".crt") + ".key", key, "0600", leaf.owner)
            yield NodeFile(leaf.path, pem, "0644")
