"""The PKI files of one control-plane node, in kubeadm's layout."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from cpkit.pki.authorities import PKI, SERVICE_ACCOUNT_PUBLIC, SHARED_FILES, SIGNING, Authorities, Held
from cpkit.pki.certificates import OTHER_CA, Profile, certificate_to_pem, issue, misfit
from cpkit.pki.keys import PrivateKey, key_from_pem, key_to_pem, new_key
from cpkit.pki.leaves import ADMIN, KUBECONFIGS, LEAVES, Leaf, NodeIdentity, leaf_path, leaves_of
from cpkit.pki.renewal import MISFITS, Renewal
from cpkit.pki.renewal import Held as HeldLeaf

NEXT_LOOK = timedelta(minutes=6)
CONTROLLERS = {"controller-manager": "system:kube-controller-manager", "scheduler": "system:kube-scheduler"}


@dataclass(frozen=True)
class NodeFile:
    """A file to be laid down on a node."""

    path: str
    content: str
    mode: str
    owner: str = "root"


def node_files(
    node: NodeIdentity, authorities: Authorities, held: Held, renewal: Renewal = MISFITS
) -> tuple[NodeFile, ...]:
    """Every PKI file of a node; a leaf that fits is kept unless it is to be renewed, so a second call is idle."""
    return (
        *(NodeFile(path, content, mode_of(path)) for path, content in authorities.files().items()),
        _signing(authorities),
        *leaf_files(node, authorities, held, renewal),
        *_controllers(node),
    )


def leaf_files(
    node: NodeIdentity, authorities: Authorities, held: Held, renewal: Renewal = MISFITS
) -> tuple[NodeFile, ...]:
    """The leaves of a node with their keys, and the administrators' kubeconfig; key and certificate side by side."""
    return tuple(_leaf_files(node, authorities, held, renewal))


def handed_files(
    node: NodeIdentity, authorities: Authorities, held: Held, handed: Mapping[str, str]
) -> tuple[NodeFile, ...]:
    """Authorities that a node is given, and what follows from them: leaves that do not fit, and kubeconfigs."""
    return (
        *(NodeFile(path, content, mode_of(path)) for path, content in handed.items()),
        _signing(authorities),
        *leaf_files(node, authorities, held),
    )


def held_paths() -> tuple[str, ...]:
    """Every file `node_files` takes into account, if a node holds it."""
    stems = (f"{PKI}/{name}" for name in LEAVES)
    leaves = (f"{stem}.{kind}" for stem in stems for kind in ("crt", "key"))
    return (*SHARED_FILES, SERVICE_ACCOUNT_PUBLIC, *leaves, ADMIN)


def derived_paths() -> tuple[str, ...]:
    """The other files that `node_files` lays down; what they say follows from the first."""
    return (SIGNING, *map(_kubeconfig_path, CONTROLLERS))


def ended(held: Held, name: str) -> bool:
    """Whether a leaf has ended, or will before a client that looks every 5 minutes has moved to another."""
    certificate = _read_certificate(held.get(leaf_path(name), ""))
    return certificate is not None and certificate.not_valid_after_utc <= datetime.now(UTC) + NEXT_LOOK


def super_admin(authorities: Authorities, *, key_type: str) -> tuple[str, str]:
    """A certificate and key in `system:masters`, valid for a day, for the very first calls; kept nowhere."""
    key = new_key(key_type)
    certificate = issue(authorities.cluster, Profile("kubernetes-super-admin", "system:masters"), key=key, days=1)
    return certificate_to_pem(certificate), key_to_pem(key)


def _signing(authorities: Authorities) -> NodeFile:
    """The one certificate that kube-controller-manager signs with."""
    return NodeFile(SIGNING, authorities.cluster.certificate_pem, "0644")


def _leaf_files(node: NodeIdentity, authorities: Authorities, held: Held, renewal: Renewal) -> Iterator[NodeFile]:
    for leaf in leaves_of(node):
        stem = leaf.path.removesuffix(".crt")
        kept = held.get(f"{stem}.crt", ""), held.get(f"{stem}.key", "")
        if leaf.path == ADMIN:
            kept = embedded_credentials(held.get(ADMIN, ""))
        certificate, key = _keep_or_issue(*kept, leaf=leaf, authorities=authorities, node=node, renewal=renewal)
        if leaf.path == ADMIN:
            yield administrators(node, authorities.cluster.bundle_pem, certificate, key)
        else:
            yield NodeFile(f"{stem}.key", key, "0600", leaf.owner)
            yield NodeFile(f"{stem}.crt", certificate, "0644")


def _keep_or_issue(
    certificate: str, key: str, *, leaf: Leaf, authorities: Authorities, node: NodeIdentity, renewal: Renewal
) -> tuple[str, str]:
    """The pair as it is, or a new one; only what merely does not fit keeps its key."""
    current, loaded = _read_key(key), _read_certificate(certificate)
    fresh = current or new_key(node.key_type)
    if loaded is None or current is None:
        if not renewal.touches(leaf.name):
            return certificate, key
    else:
        state = _state(leaf, loaded, current, authorities)
        if not renewal.reason(state, datetime.now(UTC).timestamp()):
            return certificate, key
        if not state.misfit or state.misfit == OTHER_CA or renewal.target is not None:
            fresh = new_key(node.key_type)
    made = issue(leaf.signer(authorities), leaf.profile, key=fresh, days=node.leaf_days)
    return certificate_to_pem(made), key_to_pem(fresh)


def _state(leaf: Leaf, certificate: x509.Certificate, key: PrivateKey, authorities: Authorities) -> HeldLeaf:
    return HeldLeaf(
        leaf.name,
        certificate.fingerprint(hashes.SHA256()).hex(),
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
        misfit(certificate, leaf.profile, leaf.signer(authorities), key),
    )


def _read_certificate(pem: str) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return None


def _read_key(pem: str) -> PrivateKey | None:
    try:
        return key_from_pem(pem)
    except ValueError:
        return None


def _controllers(node: NodeIdentity) -> Iterator[NodeFile]:
    for name, user in CONTROLLERS.items():
        content = kubeconfig(
            server=f"https://{node.address}:6443",
            authority=f"certificate-authority: {PKI}/ca.crt",
            user=user,
            credentials=f"client-certificate: {PKI}/{name}.crt\n      client-key: {PKI}/{name}.key",
        )
        # Not NAME.conf: kubeadm's check-expiration stops at a file of that name that embeds no certificate.
        yield NodeFile(_kubeconfig_path(name), content, "0600")


def _kubeconfig_path(name: str) -> str:
    return f"{KUBECONFIGS}/{name}.kubeconfig"


def administrators(node: NodeIdentity, bundle: str, certificate: str, key: str) -> NodeFile:
    """The administrators' kubeconfig, which embeds its credentials and all that it trusts."""
    content = kubeconfig(
        server=f"https://{node.endpoint_host}:{node.endpoint_port}",
        authority=f"certificate-authority-data: {_encoded(bundle)}",
        user="kubernetes-admin",
        credentials=f"client-certificate-data: {_encoded(certificate)}\n      client-key-data: {_encoded(key)}",
    )
    return NodeFile(ADMIN, content, "0600")


def kubeconfig(*, server: str, authority: str, user: str, credentials: str) -> str:
    """A kubeconfig with one cluster, one user and one context."""
    return f"""\
apiVersion: v1
kind: Config
clusters:
  - name: kubernetes
    cluster:
      server: {server}
      {authority}
users:
  - name: {user}
    user:
      {credentials}
contexts:
  - name: {user}@kubernetes
    context:
      cluster: kubernetes
      user: {user}
current-context: {user}@kubernetes
"""


def embedded_credentials(text: str) -> tuple[str, str]:
    """The client certificate and key a kubeconfig embeds, or two empty strings."""
    found = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition(": ")
        if key in {"client-certificate-data", "client-key-data"}:
            try:
                found[key] = base64.b64decode(value, validate=True).decode()
            except ValueError:
                found[key] = ""
    return found.get("client-certificate-data", ""), found.get("client-key-data", "")


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def mode_of(path: str) -> str:
    """The mode of a file of the PKI: only what is public may be read by all."""
    return "0644" if path.endswith((".crt", ".pub")) else "0600"
