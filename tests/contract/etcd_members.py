"""Real etcd members on loopback, with mTLS, for tests."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cpkit.artifacts import ETCD, Cache, Target, host_arch
from cpkit.etcd import EtcdError, MemberClient
from cpkit.versions import version_table

START_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Authority:
    """A CA that signs leaves for the tests."""

    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def certificate(self) -> x509.Certificate:
        return self._sign(self.name, self.key.public_key(), x509.BasicConstraints(ca=True, path_length=None))

    def ca(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def leaf(self, name: str) -> tuple[bytes, bytes]:
        """A certificate and key for client and server use on loopback, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        addresses = [x509.IPAddress(IPv4Address(f"127.0.0.{number}")) for number in range(1, 8)]
        names = [x509.DNSName(name), x509.DNSName("localhost"), *addresses]
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        cert = self._sign(name, key.public_key(), x509.SubjectAlternativeName(names), usage)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cert.public_bytes(serialization.Encoding.PEM), pem

    def _sign(self, name: str, public: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType) -> x509.Certificate:
        def common(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(common(self.name), common(name), public, x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())


@dataclass(frozen=True)
class EtcdMember:
    """One running etcd."""

    name: str
    port: int
    peer_url: str
    process: subprocess.Popen[bytes]
    authority: Authority

    def client(self, *, timeout: float = 2.0, server_name: str = "") -> MemberClient:
        cert, key = self.authority.leaf("client")
        ca = self.authority.ca()
        return MemberClient(
            "127.0.0.1",
            self.port,
            ca=ca,
            cert=cert,
            key=key,
            timeout=timeout,
            node=self.name,
            server_name=server_name,
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Frozen by SIGSTOP: its socket still accepts, nothing answers."""
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)  # its threads stop one after the other
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)


@dataclass
class Loopback:
    """Starts members in one directory and ends them all."""

    binary: Path
    root: Path
    authority: Authority = field(default_factory=lambda: Authority("etcd-ca"))
    peers: dict[str, str] = field(default_factory=dict)
    flags: dict[str, str] = field(default_factory=dict)  # more of them, for every member
    data: dict[str, Path] = field(default_factory=dict)  # where a member's data is, if elsewhere
    cleanup: ExitStack = field(default_factory=ExitStack)

    def announce(self, name: str, host: str = "127.0.0.1") -> str:
        """Choose a member's peer URL."""
        self.peers[name] = f"https://{host}:{free_port()}"
        return self.peers[name]

    def start(self, name: str, *, state: str = "new") -> EtcdMember:
        """Start an announced member; does not wait for it."""
        home = self.root / name
        home.mkdir()
        cert, key = self.authority.leaf(name)
        for file, content in (("ca.crt", self.authority.ca()), ("tls.crt", cert), ("tls.key", key)):
            (home / file).write_bytes(content)
        port = free_port()
        log = self.cleanup.enter_context((home / "log").open("wb"))
        process = subprocess.Popen(self._argv(name, port, home, state), stdout=log, stderr=log)
        member = EtcdMember(name, port, self.peers[name], process, self.authority)
        self.cleanup.callback(member.stop)
        return member

    def _argv(self, name: str, port: int, home: Path, state: str) -> list[str]:
        tls = {"trusted-ca-file": "ca.crt", "cert-file": "tls.crt", "key-file": "tls.key"}
        flags = {
            "name": name,
            "data-dir": str(self.data.get(name, home / "data")),
            "initial-cluster": ",".join(f"{peer}={url}" for peer, url in self.peers.items()),
            "initial-cluster-state": state,
            "initial-advertise-peer-urls": self.peers[name],
            "listen-peer-urls": self.peers[name],
            "listen-client-urls": f"https://127.0.0.1:{port}",
            "advertise-client-urls": f"https://127.0.0.1:{port}",
            "client-cert-auth": "true",
            "peer-client-cert-auth": "true",
            "unsafe-no-fsync": "true",
            "log-level": "warn",
            **{flag: str(home / file) for flag, file in tls.items()},
            **{f"peer-{flag}": str(home / file) for flag, file in tls.items()},
            **self.flags,
        }
        return [str(self.binary), *(f"--{flag}={value}" for flag, value in flags.items())]


@contextmanager
def loopback(binary: Path, root: Path) -> Iterator[Loopback]:
    """A place to start members in; all are ended on the way out."""
    place = Loopback(binary, root)
    with place.cleanup:
        yield place


def wait_for_quorum(member: EtcdMember) -> None:
    """Until the member serves a linearizable read."""
    deadline = time.monotonic() + START_SECONDS
    with member.client(timeout=1.0) as client:
        while True:
            try:
                client.probe()
            except EtcdError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


def etcd_binary() -> Path:
    """The etcd of the default Kubernetes minor, as verified in the cache."""
    table = version_table()
    target = Target(ETCD, table.minors[table.default].etcd, host_arch())
    entry = Cache.default().lookup(target)
    if entry is None:
        pytest.fail(f"{target} is not in the cache; fetch it first: cpkit artifacts fetch")
    return entry.directory / "etcd"
