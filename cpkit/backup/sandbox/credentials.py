"""Keys that a throw-away etcd and API server know each other by; they open nothing else."""

from dataclasses import dataclass, field

from cpkit.etcd import MemberClient
from cpkit.pki.certificates import Profile, certificate_to_pem, issue, new_authority
from cpkit.pki.keys import key_to_pem, new_key, public_to_pem

KIND = "ecdsa-p256"
SERVER = "cpkit-sandbox"
NAMES = (SERVER, "127.0.0.1")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM."""

    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class Credentials:
    """An authority that nobody else trusts, and what it signed for one sandbox."""

    authority: str
    server: Pair
    client: Pair
    service_account: Pair

    def ask_etcd(self, port: int, *, timeout: float, name: str) -> MemberClient:
        """A client of the etcd that serves with these on a port of the loopback."""
        return MemberClient(
            "127.0.0.1",
            port,
            ca=self.authority.encode(),
            cert=self.client.certificate.encode(),
            key=self.client.key.encode(),
            timeout=timeout,
            node=name,
        )


def make() -> Credentials:
    """New ones, good for a day; the authority's own key is forgotten at once."""
    authority = new_authority("cpkit-sandbox-ca", key_type=KIND, days=1)

    def pair(profile: Profile) -> Pair:
        key = new_key(KIND)
        return Pair(certificate_to_pem(issue(authority, profile, key=key, days=1)), key_to_pem(key))

    tokens = new_key(KIND)
    return Credentials(
        authority.certificate_pem,
        pair(Profile(SERVER, sans=NAMES, server=True)),
        pair(Profile(SERVER, "system:masters")),
        Pair(public_to_pem(tokens), key_to_pem(tokens)),
    )
