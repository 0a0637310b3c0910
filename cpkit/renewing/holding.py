"""The leaves that lie on the node: read, found due or not, and made anew from what they were."""

import re
import secrets
import ssl
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cpkit.errors import CpkitError, Refused
from cpkit.facts.agent.certificates import BLOCK, embedded, pair
from cpkit.facts.agent.files import digest
from cpkit.pki.renewal import DAY, Renewal
from cpkit.pki.renewal import Held as Lying
from cpkit.renewing import der, openssl
from cpkit.renewing.settings import Leaf

TOLERANCE = 300.0  # seconds that another node's clock may be behind
BY_HAND = "No timer should mend that. Look: cpkit certs; mend it: cpkit rotate-certs"


@dataclass(frozen=True)
class Held:
    """A leaf as it lies there."""

    leaf: Leaf
    pem: str
    certificate: der.Certificate
    key: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate."""
        return digest(ssl.PEM_cert_to_DER_cert(self.pem))


def read(leaf: Leaf) -> Held:
    """Read a leaf; CpkitError when it is missing or broken."""
    try:
        if leaf.key:
            pem, key = Path(leaf.certificate).read_text(encoding="utf-8"), Path(leaf.key).read_bytes()
        else:
            found = embedded(leaf.certificate)
            pem, key = found["client-certificate"].decode(), found["client-key"]
        return Held(leaf, pem, der.parse(ssl.PEM_cert_to_DER_cert(pem)), key)
    except (OSError, ValueError) as error:
        raise CpkitError(f"{leaf.name} cannot be read: {error}", hint=BY_HAND) from error


def due(held: Iterable[Held], now: float) -> dict[str, str]:
    """The names of the leaves that end soon, and why, by the rule of `cpkit rotate-certs`; pure."""
    reasons = {}
    for each in held:
        span = each.certificate.not_before, each.certificate.not_after
        if why := Renewal().reason(Lying(each.leaf.name, each.fingerprint, *span), now):
            reasons[each.leaf.name] = why
    return reasons


def refuse_misfit(held: Held) -> None:
    """Refused for a leaf whose successor would not be what the cluster expects."""
    leaf = held.leaf
    authorities = BLOCK.findall(Path(leaf.authority).read_text(encoding="utf-8"))
    if len(authorities) != 1:
        raise Refused(f"{leaf.authority} holds {len(authorities)} CAs: one is being replaced", hint=BY_HAND)
    if not Path(leaf.authority_key).exists():
        raise Refused(f"{leaf.authority_key} is not here, so nothing can be signed", hint=BY_HAND)
    if pair(authorities[0].encode(), Path(leaf.authority_key).read_bytes()) != "match":
        raise Refused(f"{leaf.authority_key} does not belong to its certificate", hint=BY_HAND)
    if pair(held.pem.encode(), held.key) != "match":
        raise Refused(f"the key of {leaf.name} does not belong to it", hint=BY_HAND)
    try:
        openssl.verify(held.pem.encode(), leaf.authority, ever=True)
    except CpkitError as error:
        raise Refused(f"{leaf.name} is signed by another CA ({error.message})", hint=BY_HAND) from error


def renewed(held: Held, *, key_type: str, days: int, now: float) -> dict[str, str]:
    """The files of a leaf that says what the one before says, by path; proven before they are given back."""
    leaf = held.leaf
    authority = der.parse(ssl.PEM_cert_to_DER_cert(Path(leaf.authority).read_text(encoding="utf-8")))
    key = openssl.new_key(key_type)
    ends = min(now + days * DAY, authority.not_after)
    serial = secrets.randbits(159) | 1
    body = held.certificate.successor(openssl.public_half(key), serial=serial, begins=now - TOLERANCE, ends=ends)
    pem = ssl.DER_cert_to_PEM_cert(held.certificate.signed(body, openssl.signature(body, leaf.authority_key)))
    openssl.verify(pem.encode(), leaf.authority)
    if pair(pem.encode(), key) != "match":
        raise CpkitError(f"the new key of {leaf.name} does not belong to its certificate")
    if leaf.key:
        return {leaf.key: key.decode(), leaf.certificate: pem}
    kubeconfig = Path(leaf.certificate).read_text(encoding="utf-8")
    return {leaf.certificate: _embedding(_embedding(kubeconfig, "client-certificate", pem.encode()), "client-key", key)}


def _embedding(kubeconfig: str, name: str, value: bytes) -> str:
    told = b64encode(value).decode()
    text, count = re.subn(rf"({name}-data:\s*)\S+", lambda found: found[1] + told, kubeconfig)
    if count != 1:
        raise CpkitError(f"the kubeconfig embeds {count} times {name}-data", hint=BY_HAND)
    return text
