"""A throw-away API server in front of a restored etcd: it reads, and reaches out to nobody."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from cpkit.backup.sandbox.api import Api, load_client
from cpkit.backup.sandbox.ground import Ground
from cpkit.backup.sandbox.member import Member
from cpkit.backup.sandbox.process import TAKEN, TRIES, Ended, free_port, last_words, running
from cpkit.etcd import MemberClient

SERVES = 90.0  # seconds until it serves
FLAG = re.compile(r"--([a-z-]+)=(\S+)")
# What decides which objects there are and how they are read; nothing else of the cluster's own settings is taken over.
TAKEN_OVER = (
    "emulated-version",
    "etcd-prefix",
    "feature-gates",
    "min-compatibility-version",
    "runtime-config",
    "service-cluster-ip-range",
)
ADMISSION = (
    *("MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"),
    *("MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"),
)
# Whom an API server would call by itself: extension servers and webhooks. It makes its own entries anew.
CALLED = (b"/registry/apiregistration.k8s.io/apiservices/", b"/registry/admissionregistration.k8s.io/")
DEFAULTS = {"service-cluster-ip-range": "10.96.0.0/12"}


def settings(unit: str) -> dict[str, str]:
    """The flags of a node's API server, by its unit, that a sandbox takes over."""
    told = dict(FLAG.findall(unit))
    return DEFAULTS | {name: told[name] for name in TAKEN_OVER if name in told}


@contextmanager
def apiserver(ground: Ground, member: Member, *, encryption: bytes | None, unit: str) -> Iterator[Api]:
    """An API server that answers; without the encryption keys, or with others, it cannot read what is encrypted."""
    load_client()
    _silence(member.client)
    for left in reversed(range(TRIES)):
        port = free_port()
        flags = _flags(ground, member, port, encryption) | settings(unit)
        argv = [ground.program("kube-apiserver", "kube-apiserver"), *(f"--{name}={flags[name]}" for name in flags)]
        try:
            with (
                running("kube-apiserver", argv, log=ground.log("kube-apiserver"), inherit=ground.inherit) as child,
                _api(ground, port) as api,
            ):
                child.await_that(api.serves, within=SERVES, what="serve")
                yield api
                return
        except Ended as error:
            if TAKEN not in error.message or not left:
                raise


def complaint(ground: Ground) -> str:
    """What the API server complained about last."""
    return last_words(ground.log("kube-apiserver"))


def _silence(client: MemberClient) -> None:
    for prefix in CALLED:
        client.etcd3.delete_prefix(prefix)


def _flags(ground: Ground, member: Member, port: int, encryption: bytes | None) -> dict[str, str]:
    held, files = ground.credentials, ground.files
    trusted = files.add(held.authority)
    flags = {
        "advertise-address": "127.0.0.1",
        "anonymous-auth": "false",
        "authorization-mode": "AlwaysAllow",  # who shows the sandbox's own certificate may read all
        "bind-address": "127.0.0.1",
        "client-ca-file": trusted,
        "disable-admission-plugins": ",".join(ADMISSION),
        "endpoint-reconciler-type": "none",
        "etcd-cafile": trusted,
        "etcd-certfile": files.add(held.client.certificate),
        "etcd-compaction-interval": "0",
        "etcd-keyfile": files.add(held.client.key),
        "etcd-servers": f"https://127.0.0.1:{member.port}",
        "profiling": "false",
        "secure-port": str(port),
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": files.add(held.service_account.certificate),
        "service-account-signing-key-file": files.add(held.service_account.key),
        "tls-cert-file": files.add(held.server.certificate),
        "tls-private-key-file": files.add(held.server.key),
    }
    if encryption is not None:
        flags["encryption-provider-config"] = files.add(encryption)
    return flags


@contextmanager
def _api(ground: Ground, port: int) -> Iterator[Api]:
    held = ground.credentials
    with Api(
        f"https://127.0.0.1:{port}",
        authority=held.authority,
        certificate=ground.files.add(held.client.certificate),
        key=ground.files.add(held.client.key),
    ) as api:
        yield api
