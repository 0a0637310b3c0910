"""The gRPC side of a member's client: credentials from memory, options, and errors in words."""

from dataclasses import dataclass

from cpkit.etcd.errors import EtcdError, EtcdRefused, EtcdTimeout, EtcdUnavailable
from cpkit.etcd.rpc import Etcd3Client, grpc

RpcError = grpc.RpcError


class InMemoryClient(Etcd3Client):  # type: ignore[misc]
    """etcd3's client, given its certificates as bytes instead of file names."""

    def _get_secure_creds(
        self, ca_cert: bytes, cert_key: bytes | None = None, cert_cert: bytes | None = None
    ) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(ca_cert, cert_key, cert_cert)


def options(server_name: str) -> list[tuple[str, int | str]]:
    """How a channel to one member behaves."""
    chosen: list[tuple[str, int | str]] = [
        ("grpc.enable_http_proxy", 0),
        # Tunnels reuse local ports: a channel must not inherit another's connection or its back-off.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.max_receive_message_length", -1),
        # How much of a large answer may be on its way: enough for any distance.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 8 << 20),
    ]
    if server_name:
        chosen.append(("grpc.ssl_target_name_override", server_name))
    return chosen


def translate(error: Exception, *, node: str, timeout: float) -> EtcdError:
    """An error of a call, as what it means for the caller."""
    if isinstance(error, ValueError):  # how gRPC says that the channel was closed
        return EtcdUnavailable(f"etcd's client was closed ({error})", node=node)
    code, details = error.code(), error.details() or ""  # type: ignore[attr-defined]
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return EtcdTimeout(f"etcd did not answer within {timeout:g} s", hint=_TIMEOUT_HINT, node=node)
    if code is grpc.StatusCode.UNAVAILABLE and details.startswith("etcdserver: "):
        return EtcdUnavailable(f"etcd cannot serve now: {details.removeprefix('etcdserver: ')}", node=node)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return _unreachable(details, node)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return EtcdRefused("this etcd is too old for the call", hint=details, node=node)
    return EtcdRefused(details.removeprefix("etcdserver: ") or code.name, node=node)


_TIMEOUT_HINT = "The member is stopped or overloaded, or the cluster has no quorum. Its log: journalctl -u etcd"


@dataclass(frozen=True)
class _Cause:
    texts: tuple[str, ...]  # what gRPC says, from 1.60 to today
    message: str
    hint: str


_CAUSES = (
    _Cause(
        ("certificate_verify_failed",),
        "etcd's certificate was not accepted",
        "It is not signed by the given CA, or has expired.",
    ),
    _Cause(
        ("hostname verification", "is not in peer certificate"),
        "etcd's certificate was not accepted",
        "It lacks the name it was asked for: node and member do not belong together.",
    ),
    _Cause(
        ("unwrap failed",),
        "etcd did not accept the client certificate",
        "The member trusts another CA, or the client certificate has expired.",
    ),
    _Cause(
        ("security handshaker", "empty address list"),
        "the given CA, certificate and key cannot be used",
        "One of them is no PEM, or the key is not the certificate's.",
    ),
    _Cause(
        ("connection refused",),
        "etcd refused the connection",
        "It is not running. Look at: systemctl status etcd",
    ),
    _Cause(  # how a tunnel to a port that nobody listens on looks from here
        ("socket closed", "connection reset"),
        "etcd closed the connection",
        "It may not be running. Look at: systemctl status etcd",
    ),
)


def _unreachable(details: str, node: str) -> EtcdUnavailable:
    lowered = details.lower()
    for cause in _CAUSES:
        if any(text in lowered for text in cause.texts):
            return EtcdUnavailable(cause.message, hint=cause.hint, node=node)
    return EtcdUnavailable("etcd cannot be reached", hint=details, node=node)
