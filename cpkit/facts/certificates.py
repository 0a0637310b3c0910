"""Certificates as the snapshot holds them: parsed, and tied to the CA file that signed them."""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes

from cpkit.facts.host import Pem
from cpkit.facts.snapshot import Certificate
from cpkit.pki.certificates import profile_of, sans_of

EMBEDDED = "#certificate-authority"  # ends the path of a CA that a kubeconfig embeds
Authorities = Mapping[str, list[x509.Certificate]]


def parse(pems: Iterable[Pem]) -> tuple[Certificate, ...]:
    """Every certificate of a node; a bundle of CAs counts as several, an unreadable file as one with an error."""
    loaded: dict[str, list[x509.Certificate]] = {}
    broken: dict[str, str] = {}
    files = {pem.path: pem for pem in pems}
    for path, pem in files.items():
        try:
            loaded[path] = x509.load_pem_x509_certificates(pem.pem.encode())
        except ValueError as error:
            broken[path] = str(error) or "not a certificate"
    authorities = {path: found for path, found in loaded.items() if path.endswith("ca.crt")}
    return tuple(
        _describe(files[path], certificate, authorities)
        for path, found in loaded.items()
        for certificate in (found if path in authorities or path.endswith(EMBEDDED) else found[:1])
    ) + tuple(Certificate(path, "", "", "", "", 0, 0, error=error) for path, error in broken.items())


def parse_served(pems: Mapping[str, str]) -> dict[str, Certificate]:
    """What the servers of a node show; what is no certificate is left out."""
    found = {}
    for name, pem in pems.items():
        with suppress(ValueError):
            found[name] = _describe(Pem("", pem), x509.load_pem_x509_certificate(pem.encode()), {})
    return found


def _describe(pem: Pem, certificate: x509.Certificate, authorities: Authorities) -> Certificate:
    signed_by, signer = _signer(pem.path, certificate, authorities)
    return Certificate(
        path=pem.path,
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        sans=sans_of(certificate),
        authority=pem.path in authorities or pem.path.endswith(EMBEDDED),
        key=pem.key,
        signed_by=signed_by,
        signer=signer,
        profile=profile_of(certificate),
    )


def _signer(path: str, certificate: x509.Certificate, authorities: Authorities) -> tuple[str, str]:
    """The file of the CA that signed it, and the CA's fingerprint."""
    # A CA is looked for in its own file first, for two files may hold the same one.
    for candidate in sorted(authorities, key=lambda name: name != path):
        for authority in authorities[candidate]:
            try:
                certificate.verify_directly_issued_by(authority)
            except (ValueError, TypeError, InvalidSignature):
                continue
            return candidate, authority.fingerprint(hashes.SHA256()).hex()
    return "", ""
