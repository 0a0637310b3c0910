"""What every control-plane node of a cluster shares: three CAs, the service-account key, the encryption key."""

import base64
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from cpkit.errors import Refused
from cpkit.pki.certificates import Authority, new_authority
from cpkit.pki.keys import PrivateKey, key_from_pem, key_to_pem, new_key, public_to_pem

PKI = "/etc/kubernetes/pki"
ENCRYPTION = "/etc/kubernetes/encryption.yaml"
CLUSTER_CA = (f"{PKI}/ca.crt", f"{PKI}/ca.key")
ETCD_CA = (f"{PKI}/etcd/ca.crt", f"{PKI}/etcd/ca.key")
FRONT_PROXY_CA = (f"{PKI}/front-proxy-ca.crt", f"{PKI}/front-proxy-ca.key")
SERVICE_ACCOUNT_KEY = f"{PKI}/sa.key"
SERVICE_ACCOUNT_PUBLIC = f"{PKI}/sa.pub"
# What kube-controller-manager signs with: one certificate, where ca.crt holds all that are trusted.
SIGNING = f"{PKI}/ca-signing.pem"

# A node that holds these holds the whole of what the nodes share.
SHARED_FILES = (*CLUSTER_CA, *ETCD_CA, *FRONT_PROXY_CA, SERVICE_ACCOUNT_KEY, ENCRYPTION)

PUBLIC = re.compile(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----\n", re.DOTALL)
PUBLIC_CERTIFICATES = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
Held = Mapping[str, str]  # path on a node -> content


@dataclass(frozen=True)
class Authorities:
    """The shared secrets of a cluster, in memory."""

    cluster: Authority
    etcd: Authority
    front_proxy: Authority
    service_account: PrivateKey
    encryption: str  # the EncryptionConfiguration, as YAML
    also_verifies: tuple[str, ...] = ()  # public keys, as PEM, whose tokens are valid besides

    def files(self) -> dict[str, str]:
        """Path on a node -> content, for every shared file."""
        pairs = {CLUSTER_CA: self.cluster, ETCD_CA: self.etcd, FRONT_PROXY_CA: self.front_proxy}
        files = {}
        for (certificate, key), authority in pairs.items():
            files[certificate] = authority.bundle_pem
            files[key] = authority.key_pem
        files[SERVICE_ACCOUNT_KEY] = key_to_pem(self.service_account)
        files[SERVICE_ACCOUNT_PUBLIC] = "".join((public_to_pem(self.service_account), *self.also_verifies))
        files[ENCRYPTION] = self.encryption
        return files

    @classmethod
    def from_files(cls, held: Held) -> "Authorities":
        """Read the shared files; ValueError when one is broken or a pair does not match."""

        def pair(paths: tuple[str, str]) -> Authority:
            try:
                return Authority.from_pem(*(held[path] for path in paths))
            except ValueError as error:
                raise ValueError(f"{paths[0]}: {error}") from error

        service_account = key_from_pem(held[SERVICE_ACCOUNT_KEY])
        own, *others = PUBLIC.findall(held.get(SERVICE_ACCOUNT_PUBLIC, "")) or [""]
        return cls(
            cluster=pair(CLUSTER_CA),
            etcd=pair(ETCD_CA),
            front_proxy=pair(FRONT_PROXY_CA),
            service_account=service_account,
            encryption=held[ENCRYPTION],
            also_verifies=tuple(others) if own == public_to_pem(service_account) else (),
        )


def create(*, key_type: str, ca_days: int) -> Authorities:
    """Authorities of a new cluster."""
    return Authorities(
        cluster=new_authority("kubernetes", key_type=key_type, days=ca_days),
        etcd=new_authority("etcd-ca", key_type=key_type, days=ca_days),
        front_proxy=new_authority("front-proxy-ca", key_type=key_type, days=ca_days),
        service_account=new_key(key_type),
        encryption=encryption_configuration(base64.b64encode(secrets.token_bytes(32)).decode()),
    )


def adopt(nodes: Mapping[str, Held], *, started: bool) -> Authorities | None:
    """The authorities the nodes already hold, or None when a cluster that never started may be given new ones.

    A node either holds all shared files or is given them; two nodes that hold different ones are never merged.
    A set that an interrupted first run left incomplete is superseded only while no etcd has ever `started`.
    Raises Refused, naming the nodes, when they disagree, when files are broken, or when a started cluster lost them.
    """
    complete = {name: held for name, held in nodes.items() if all(held.get(path) for path in SHARED_FILES)}
    if not complete:
        if started:
            _refuse_incomplete(nodes)
        return None
    source, reference = next(iter(sorted(complete.items())))
    for name, held in sorted(nodes.items()):
        for path in SHARED_FILES:
            if held.get(path) and held[path] != reference[path]:
                raise Refused(
                    f"{name} and {source} hold different {path}",
                    hint="They belong to different clusters, or one was changed by hand. "
                    "Move /etc/kubernetes of the wrong node aside, then run the same command again. "
                    "If a rotation of CAs was cut off, which cpkit health tells, finish that instead.",
                )
    try:
        return Authorities.from_files(reference)
    except ValueError as error:
        raise Refused(
            f"{error}", node=source, hint=f"Restore the file from another node or a backup; {source} is not used."
        ) from error


def _refuse_incomplete(nodes: Mapping[str, Held]) -> None:
    for name, held in sorted(nodes.items()):
        missing = [path for path in SHARED_FILES if not held.get(path)]
        raise Refused(
            f"etcd holds data, but {missing[0]} is missing, and no other node holds all of the shared files",
            node=name,
            hint="Put the missing file back from a backup. New authorities would lock the cluster out of its own data.",
        )


def encryption_configuration(secret: str) -> str:
    """An EncryptionConfiguration that writes with secretbox and still reads plaintext."""
    return f"""\
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources:
      - secrets
    providers:
      - secretbox:
          keys:
            - name: key1
              secret: {secret}
      - identity: {{}}
"""
