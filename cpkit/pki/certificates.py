"""Certificates: signing authorities and the leaves they issue."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cpkit.pki.keys import PrivateKey, key_from_pem, key_to_pem, new_key

OTHER_CA = "is signed by another CA"
CLOCK_TOLERANCE = timedelta(minutes=5)  # a node's clock may be behind the signer's


@dataclass(frozen=True)
class Authority:
    """A certificate authority that can sign, and whom its clients trust besides while it is being replaced."""

    certificate: x509.Certificate
    key: PrivateKey
    also: tuple[x509.Certificate, ...] = ()

    @property
    def certificate_pem(self) -> str:
        """Its own certificate as PEM: what signs."""
        return certificate_to_pem(self.certificate)

    @property
    def bundle_pem(self) -> str:
        """All that is trusted as PEM; what signs is the first."""
        return "".join(map(certificate_to_pem, (self.certificate, *self.also)))

    @property
    def key_pem(self) -> str:
        """The private key as PEM."""
        return key_to_pem(self.key)

    @classmethod
    def from_pem(cls, certificate: str, key: str) -> "Authority":
        """Read an authority from a bundle; ValueError when the key is not that of the bundle's first certificate."""
        first, *others = x509.load_pem_x509_certificates(certificate.encode())
        authority = cls(first, key_from_pem(key), tuple(others))
        if authority.certificate.public_key() != authority.key.public_key():
            raise ValueError("the private key does not belong to the certificate")
        return authority


@dataclass(frozen=True)
class Profile:
    """What a leaf says about its holder; names in any order."""

    common_name: str
    organization: str = ""
    sans: tuple[str, ...] = ()
    server: bool = False
    client: bool = True


def certificate_to_pem(certificate: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """The certificate, or the request, as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def new_authority(common_name: str, *, key_type: str, days: int) -> Authority:
    """A self-signed authority with the subject, usages and SAN that kubeadm gives it."""
    key = new_key(key_type)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_TOLERANCE)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(key_usage(signs=True), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def issue(
    authority: Authority, profile: Profile, *, key: PrivateKey, days: int, now: datetime | None = None
) -> x509.Certificate:
    """A leaf for the profile, valid from `now` on; never outlives its authority."""
    now = now or datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject_of(profile))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_TOLERANCE)
        .not_valid_after(min(now + timedelta(days=days), authority.certificate.not_valid_after_utc))
        .add_extension(key_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(extended_usages(profile)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_authority_key_identifier(authority), critical=False)
    )
    if profile.sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(general_names(profile.sans)), critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def subject_of(profile: Profile) -> x509.Name:
    """The subject of a leaf."""
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, profile.common_name)]
    if profile.organization:
        subject.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, profile.organization))
    return x509.Name(subject)


def general_names(sans: Sequence[str]) -> list[x509.GeneralName]:
    """SANs as addresses where they are addresses, as DNS names elsewhere."""
    return [_general_name(san) for san in sans]


def misfit(certificate: x509.Certificate, profile: Profile, authority: Authority, key: PrivateKey) -> str:
    """In a few words, why a leaf is not valid now, from this authority, for this key and profile; empty when it is."""
    now = datetime.now(UTC)
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return OTHER_CA
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        return "is not valid now"
    if certificate.public_key() != key.public_key():
        return "does not belong to its key"
    return difference(profile_of(certificate), profile)


def profile_of(certificate: x509.Certificate | x509.CertificateSigningRequest) -> Profile:
    """What a certificate, or a request for one, says about its holder."""
    subject = {attribute.oid: str(attribute.value) for attribute in certificate.subject}
    usages = _usages_of(certificate)
    return Profile(
        common_name=subject.get(NameOID.COMMON_NAME, ""),
        organization=subject.get(NameOID.ORGANIZATION_NAME, ""),
        sans=sans_of(certificate),
        server=ExtendedKeyUsageOID.SERVER_AUTH in usages,
        client=ExtendedKeyUsageOID.CLIENT_AUTH in usages,
    )


def sans_of(certificate: x509.Certificate | x509.CertificateSigningRequest) -> tuple[str, ...]:
    """The names and addresses a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    dns = names.get_values_for_type(x509.DNSName)
    return (*dns, *(str(address) for address in names.get_values_for_type(x509.IPAddress)))


def difference(held: Profile, wanted: Profile) -> str:
    """In a few words, why a leaf is not what it should be; empty when it is."""
    if held.common_name != wanted.common_name or held.organization != wanted.organization:
        return f"is for {held.common_name or 'nobody'}, not for {wanted.common_name}"
    if lacking := _only_in(wanted.sans, held.sans):
        return f"does not name {', '.join(lacking)}"
    if surplus := _only_in(held.sans, wanted.sans):
        return f"names {', '.join(surplus)}, which the inventory does not"
    if (held.server, held.client) != (wanted.server, wanted.client):
        return f"is of use to a {_roles(held)}, not to a {_roles(wanted)}"
    return ""


def _only_in(one: Sequence[str], other: Sequence[str]) -> list[str]:
    known = set(general_names(other))
    return [str(name.value) for name in general_names(one) if name not in known]


@cache
def _general_name(san: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(san))
    except ValueError:
        return x509.DNSName(san)


def _roles(profile: Profile) -> str:
    return " and ".join(word for word, holds in (("server", profile.server), ("client", profile.client)) if holds)


def _usages_of(certificate: x509.Certificate | x509.CertificateSigningRequest) -> list[x509.ObjectIdentifier]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return []


def _authority_key_identifier(authority: Authority) -> x509.AuthorityKeyIdentifier:
    identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value)


def extended_usages(profile: Profile) -> list[x509.ObjectIdentifier]:
    """What a leaf of a profile may be used for."""
    wanted = [(profile.server, ExtendedKeyUsageOID.SERVER_AUTH), (profile.client, ExtendedKeyUsageOID.CLIENT_AUTH)]
    return [usage for holds, usage in wanted if holds]


def key_usage(*, signs: bool) -> x509.KeyUsage:
    """What the key of an authority, or of a leaf, may do."""
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        key_cert_sign=signs,
        crl_sign=False,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
