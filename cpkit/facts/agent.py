"""Reads the facts of the node it runs on and prints them as one JSON document.

It is sent on stdin to `sudo python3 - ARGUMENTS`, so it uses the standard library of Python 3.9 alone. It changes
nothing, prints no private key, and gives up on whatever has not answered by its deadline.
"""
# Python 3.9 knows no Z in dates, and importing pathlib would add a tenth to the run.
# ruff: noqa: FURB162, PTH110, PTH115, PTH116, PTH123, PTH207

from __future__ import annotations

import base64
import contextlib
import functools
import glob
import hashlib
import hmac
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time

TYPE_CHECKING = False  # as typing's own, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

LOOPBACK = "127.0.0.1"
CONFIG = "/etc/kubernetes"
PKI = CONFIG + "/pki"
PATIENCE = 2.0  # seconds for one request
CONTROLLERS = {"kube-controller-manager": 10257, "kube-scheduler": 10259}
UNITS = {
    "control_plane": ["etcd", "kube-apiserver", *CONTROLLERS],
    "load_balancer": ["haproxy", "keepalived"],
}
OWN_FLAGS = {"advertise-address", "bind-address"}  # these may differ between nodes
COMPARED = [
    *(PKI + name for name in ("/ca.crt", "/front-proxy-ca.crt", "/etcd/ca.crt", "/sa.pub")),
    CONFIG + "/encryption.yaml",
    "/etc/haproxy/kubernetes-ca.crt",
]
OPT = "/opt/cpkit"
ETCD_CA = PKI + "/etcd/ca.crt"
# What serves TLS here: a port, the pair to show so that no server logs a fault, and the name to ask for. The API server
# serves its own loopback client a certificate that is on no disk, made at its start, under a name of its own.
PEERS = 2380  # the one port that is not served on loopback
SERVERS = {
    "2379": (2379, PKI + "/etcd/healthcheck-client", ""),
    "2380": (PEERS, PKI + "/etcd/peer", ""),
    "6443": (6443, "", ""),
    "loopback": (6443, "", "apiserver-loopback-client"),
    "10257": (10257, "", ""),
    "10259": (10259, "", ""),
}
# The client certificates, where each must be accepted; /version is told to whoever is somebody.
CLIENTS = {
    "apiserver-etcd-client": (2379, "/health"),
    "etcd/healthcheck-client": (2379, "/health"),
    "etcd/peer": (PEERS, "/version"),
    "apiserver-kubelet-client": (6443, "/version"),
    "front-proxy-client": (6443, "/version"),
    "controller-manager": (6443, "/version"),
    "scheduler": (6443, "/version"),
    "admin.conf": (6443, "/version"),
}
BACKUP = ("/etc/cpkit/backup.json", "/var/lib/cpkit/backup/status.json", "cpkit-backup.timer")  # role backup_schedule
RAN = ("at", "next", "period", "outcome", "error", "hint", "verified", "record")  # what its last run left
# role renewal_schedule
RENEWAL = ("/etc/cpkit/renewal.json", "/var/lib/cpkit/renewal/status.json", "cpkit-renewal.timer")
RENEWED = ("at", "outcome", "error", "hint", "ends", "renewed", "renewed_at")  # what its last run left
KEPT = "/var/lib/cpkit/previous"  # role leaves keeps there what it replaces, until the new ones are in use
ROTATION = "/var/lib/cpkit/rotation"  # role authorities keeps there the old and the new ones while they are replaced
REPLACED = "/var/lib/cpkit/previous-authorities-"  # and there, by the stage, what a stage replaced on the node
AUTHORITIES = {
    "cluster": "/ca.crt",
    "etcd": "/etcd/ca.crt",
    "front_proxy": "/front-proxy-ca.crt",
    "service_account": "/sa.pub",
}
SIGNERS = (*AUTHORITIES.values(), "/sa.key")  # what a service may read but once, at its start
KEPT_ENCRYPTION = "/var/lib/cpkit/previous-encryption"  # as role encryption_keys does
BALANCER_CA = "/etc/haproxy/kubernetes-ca.crt"
KEY = re.compile(r"-----BEGIN ([A-Z ]*(?:PUBLIC|PRIVATE) KEY)-----(.+?)-----END \1-----", re.DOTALL)
BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)
MANAGER = "/etc/systemd/system/kube-controller-manager.service"
SIGNING_KEY = re.compile(r"[\s\0]--cluster-signing-key-file=(\S+)")
NO_SIGNER = re.compile(r"[\s\0]--controllers=\S*-(?:csrsigning|certificatesigningrequest-signing-controller)\b")
EMULATED = re.compile(r"[\s\0]--emulated-version=(?:kube=)?(\d+\.\d+)")
FSYNC = re.compile(r'^etcd_disk_wal_fsync_duration_seconds_bucket\{le="([^"]+)"\} (\S+)', re.MULTILINE)


def get(
    port: int, path: str, context: ssl.SSLContext | None = None, more: str = "", address: str = LOOPBACK
) -> tuple[int, str, str]:
    """Status, body and the digest of the certificate shown, for one GET with `more` header lines to this node."""
    end = time.monotonic() + PATIENCE
    with socket.create_connection((address, port), PATIENCE) as plain:
        stream = context.wrap_socket(plain, server_hostname=address) if context else plain
        shown = digest(stream.getpeercert(True) or b"") if isinstance(stream, ssl.SSLSocket) else ""
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{more}\r\n".encode())
        answer = b""
        while not complete(answer):
            stream.settimeout(max(0.01, end - time.monotonic()))
            chunk = stream.recv(1 << 16)
            if not chunk:
                break
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    body = joined(body) if b"transfer-encoding: chunked" in head.lower() else body
    return int(head.split(None, 2)[1]), body.decode("utf-8", "replace"), shown


def complete(answer: bytes) -> bool:
    """Whether an answer says itself that it is whole; etcd's peer port does not always close when it should."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
    return bool(end and length) and len(body) >= int(length.group(1) if length else 0)


def joined(chunks: bytes) -> bytes:
    """A chunked body as one."""
    body = b""
    while chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            break
        body, chunks = body + chunks[:length], chunks[length + 2 :]
    return body


def trusting(authority: str, pair: str = "") -> ssl.SSLContext:
    """A client's context that trusts one CA file and, if asked, shows the pair at PAIR.crt and PAIR.key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority)
    if pair:
        context.load_cert_chain(pair + ".crt", pair + ".key")
    return context


def believing(pair: str = "") -> ssl.SSLContext:
    """A client's context that takes any certificate, to see which one is shown, and shows the pair if asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if pair:
        context.load_cert_chain(pair + ".crt", pair + ".key")
    return context


def digest(data: bytes) -> str:
    """SHA-256 as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def read(path: str) -> bytes:
    """The file's bytes."""
    with open(path, "rb") as file:
        return file.read()


def text_of(path: str) -> str:
    """What a file says; empty if it cannot be read."""
    try:
        return read(path).decode("utf-8", "replace")
    except OSError:
        return ""


def output(*argv: str) -> str:
    """What a command printed."""
    return subprocess.run(argv, check=True, capture_output=True, timeout=PATIENCE).stdout.decode()


def reason(error: BaseException) -> str:
    """An error in one short line."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, socket.timeout):
        return "timed out"
    return f"{type(error).__name__}: {error}"[:200]


def units(role: str) -> dict[str, dict[str, Any]]:
    """The units that belong to the role, as systemd sees them."""
    fields = "Id,LoadState,ActiveState,SubState,NRestarts,MainPID,ExecMainStartTimestampMonotonic"
    found = {}
    for block in output("systemctl", "show", "-p", fields, *UNITS[role]).strip().split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines())
        found[unit["Id"].replace(".service", "")] = {
            "state": unit["ActiveState"],
            "sub": unit["SubState"],
            "loaded": unit["LoadState"],
            "restarts": int(unit.get("NRestarts") or 0),
            "pid": int(unit.get("MainPID") or 0),
            "started": int(unit.get("ExecMainStartTimestampMonotonic") or 0) / 1e6,
        }
    return found


def version_in(path: str) -> str:
    """The version that is a part of a binary's path."""
    found = re.search(r"/v?(\d+\.\d+\.\d+)(?:/|$)", path)
    return found.group(1) if found else ""


def component(name: str, pid: int) -> dict[str, Any]:
    """The version that runs, the one that the next start would run, and those that lie there."""
    try:
        running = os.readlink(f"/proc/{pid}/exe") if pid else ""
    except OSError:
        running = ""
    return {
        "running": version_in(running),
        "selected": version_in(os.path.realpath(f"{OPT}/{name}/current")),
        "emulates": emulated(f"/proc/{pid}/cmdline") if pid else "",
        "would_emulate": emulated(f"/etc/systemd/system/{name}.service"),
        "before": version_in(os.path.realpath(f"{OPT}/{name}/before")),
        "installed": sorted(filter(None, (version_in(path) for path in glob.glob(f"{OPT}/{name}/*/{name}")))),
    }


def emulated(path: str) -> str:
    """The minor that the flags in a unit or a command line name for --emulated-version; empty for the program's own."""
    found = EMULATED.search(text_of(path))
    return found.group(1) if found else ""


def missing_key(unit: str) -> str:
    """The key that kube-controller-manager is to sign with, if it is not there; empty if it is not to sign at all."""
    key = SIGNING_KEY.search(unit)
    return key.group(1) if key and not NO_SIGNER.search(unit) and not os.path.exists(key.group(1)) else ""


def flags(command_line: bytes) -> dict[str, str]:
    """Digests of a process's flags; the order of a list does not matter, nor do flags that are a node's own."""
    found = {}
    for argument in command_line.decode("utf-8", "replace").split("\0")[1:]:
        name, _, value = argument.lstrip("-").partition("=")
        if name and name not in OWN_FLAGS:
            found[name] = digest(",".join(sorted(value.split(","))).encode())[:16]
    return found


def services(role: str) -> dict[str, Any]:
    """Units, versions, and kube-apiserver's flags."""
    found = units(role)
    pid = found.get("kube-apiserver", {}).get("pid", 0)
    return {
        "units": found,
        "components": {name: component(name, unit["pid"]) for name, unit in found.items()} if "etcd" in found else {},
        "flags": flags(read(f"/proc/{pid}/cmdline")) if pid else {},
        "missing_key": missing_key(text_of(MANAGER)),
    }


def compared_files() -> dict[str, str]:
    """Digests of the files that must be the same on all nodes."""
    return {path: digest(read(path)) for path in COMPARED if os.path.exists(path)}


def pair(certificate: bytes, key: bytes) -> str:
    """Whether a private key belongs to a certificate; both stay in this process's memory."""
    with in_memory(certificate) as crt, in_memory(key) as key_file:
        try:
            # A key behind a passphrase must not make OpenSSL ask for it.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(crt, key_file, password=lambda: b"-")
        except ssl.SSLError as error:
            return "mismatch" if error.reason == "KEY_VALUES_MISMATCH" else "unreadable"
    return "match"


@contextlib.contextmanager
def in_memory(data: bytes) -> Iterator[str]:
    """The path of a file that is in this process's memory alone."""
    file = os.memfd_create("pem")
    try:
        os.write(file, data)
        yield f"/proc/self/fd/{file}"
    finally:
        os.close(file)


def certificates() -> list[dict[str, str]]:
    """The public certificates on the node, each with whether its key belongs to it."""
    found = []
    for path in sorted(glob.glob(PKI + "/*.crt") + glob.glob(PKI + "/etcd/*.crt")):
        pem, key = read(path).decode("utf-8", "replace"), path[:-3] + "key"
        # The key of a CA that is being replaced belongs to one certificate of the bundle, not always the first.
        blocks = BLOCK.findall(pem) if path.endswith("ca.crt") else [pem]
        results = [pair(block.encode(), read(key)) for block in blocks] if os.path.exists(key) else ["absent"]
        state = "match" if "match" in results else (results or ["unreadable"])[0]
        found.append({"path": path, "pem": "".join(BLOCK.findall(pem)), "key": state})
    for path in sorted(glob.glob(CONFIG + "/*.conf")):
        held = embedded(path)
        if held["client-certificate"]:
            state = pair(held["client-certificate"], held["client-key"]) if held["client-key"] else "absent"
            found.append({"path": path, "pem": held["client-certificate"].decode("utf-8", "replace"), "key": state})
            trusted = held["certificate-authority"].decode("utf-8", "replace")
            found.append({"path": path + "#certificate-authority", "pem": trusted, "key": "absent"})
    return found


def embedded(path: str) -> dict[str, bytes]:
    """What a kubeconfig embeds; empty for what it does not."""
    text = read(path).decode("utf-8", "replace")
    found = dict.fromkeys(("certificate-authority", "client-certificate", "client-key"), b"")
    for name, value in re.findall(r"^\s*(\S+)-data:\s*(\S+)", text, re.MULTILINE):
        if name in found:
            found[name] = base64.b64decode(value)
    return found


def balancer_certificates() -> list[dict[str, str]]:
    """The CA that a balancer checks the API servers with."""
    pem = read(BALANCER_CA).decode("utf-8", "replace")
    return [{"path": BALANCER_CA, "pem": "".join(BLOCK.findall(pem)), "key": "absent"}]


def served(name: str, address: str) -> str:
    """The certificate that a server of this node shows, whoever signed it."""
    port, shows, asked = SERVERS[name]
    try:
        context = believing(shows)
    except (OSError, ssl.SSLError):
        context = believing()  # a pair that does not match must not hide what is served
    with socket.create_connection((address if port == PEERS else LOOPBACK, port), PATIENCE) as plain:
        plain.settimeout(PATIENCE)
        with context.wrap_socket(plain, server_hostname=asked or None) as stream:
            return ssl.DER_cert_to_PEM_cert(stream.getpeercert(True) or b"")


def client(name: str, address: str) -> dict[str, Any]:
    """Whether the server that a client certificate is for accepts it; asked with the files as they lie here."""
    port, path = CLIENTS[name]
    more = "X-Remote-User: cpkit\r\nX-Remote-Group: system:authenticated\r\n" if name == "front-proxy-client" else ""
    if not name.endswith(".conf"):
        where = address if port == PEERS else LOOPBACK
        return probe(port, path, lambda: believing(f"{PKI}/{name}"), more, where)
    held = embedded(f"{CONFIG}/{name}")
    with in_memory(held["client-certificate"] + b"\n" + held["client-key"]) as file:

        def context() -> ssl.SSLContext:
            made = believing()
            made.load_cert_chain(file, password=lambda: b"-")
            return made

        return probe(port, path, context, more)


def keys() -> dict[str, dict[str, str]]:
    """Fingerprints of the keys that have no certificate: they tell keys apart, and nothing else."""
    found = {}
    service_account = PKI + "/sa.key"
    if os.path.exists(service_account) or os.path.exists(PKI + "/sa.pub"):
        public, private = ((der(PKI + name) or [b""])[0] for name in ("/sa.pub", "/sa.key"))
        # The public point or modulus is a part of the private key's own encoding.
        part = public[-68:] if len(public) < 130 else public[-69:-5]
        state = "absent" if not private else "match" if part and part in private else "mismatch"
        found[service_account] = {"fingerprint": digest(public)[:16] if public else "", "state": state}
    if os.path.exists(CONFIG + "/encryption.yaml"):
        text = read(CONFIG + "/encryption.yaml").decode("utf-8", "replace")
        for name, secret in re.findall(r"name:\s*(\S+)\s+secret:\s*(\S+)", text):
            mark = hmac.new(secret.encode(), b"fingerprint", "sha256").hexdigest()[:16]
            # Of two with the same name the first is the one that writes: other providers come after it.
            found.setdefault(f"{CONFIG}/encryption.yaml#{name}", {"fingerprint": mark, "state": "present"})
    return found


def rotation() -> dict[str, Any]:
    """How far authorities are replaced here, by fingerprint; and when, in seconds since the boot, each file changed."""
    booted = time.time() - time.monotonic()
    there = [PKI + name for name in SIGNERS if os.path.exists(PKI + name)]
    found: dict[str, Any] = {"changed": {path: os.stat(path).st_ctime - booted for path in there}}
    found["tokens"] = [digest(each)[:16] for each in der(PKI + "/sa.pub")]
    found["kept"] = [path[len(REPLACED) :] for path in glob.glob(REPLACED + "*")]
    for generation in ("old", "new"):
        marks = {name: first(f"{ROTATION}/{generation}{path}") for name, path in AUTHORITIES.items()}
        found[generation] = {name: mark for name, mark in marks.items() if mark}
    return found


def first(path: str) -> str:
    """The fingerprint of the first certificate or public key in a file, as others tell it; "" without one."""
    if path.endswith(".pub"):
        return next((digest(each)[:16] for each in der(path)), "")
    blocks = BLOCK.findall(read(path).decode("utf-8", "replace")) if os.path.exists(path) else []
    return digest(ssl.PEM_cert_to_DER_cert(blocks[0])) if blocks else ""


def der(path: str) -> list[bytes]:
    """The keys in a PEM file, decoded; none when there is no such file."""
    try:
        text = read(path).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return [base64.b64decode(body) for _, body in KEY.findall(text)]


def probe(
    port: int, path: str, context: Callable[[], ssl.SSLContext], more: str = "", address: str = LOOPBACK
) -> dict[str, Any]:
    """One request and how long it took; files that make no context are an answer, too."""
    started = time.monotonic()
    try:
        status, body, shown = get(port, path, context(), more, address)
    except (OSError, ValueError, IndexError) as error:
        return {"seconds": time.monotonic() - started, "error": reason(error)}
    failed = re.findall(r"^\[-\](\S+)", body, re.MULTILINE)
    return {"status": status, "seconds": time.monotonic() - started, "failed": failed, "served": shown}


def health_path(path: str) -> dict[str, Any]:
    """The API server's word on itself."""
    return probe(6443, f"/{path}?verbose", lambda: trusting(PKI + "/ca.crt"))


def controller(name: str) -> dict[str, Any]:
    """A controller's own health, whatever certificate it shows: that is judged apart."""
    return probe(CONTROLLERS[name], "/healthz", believing)


def lease(name: str) -> dict[str, Any]:
    """Who holds an election, as this node's API server tells it."""
    from datetime import datetime

    context = trusting(PKI + "/ca.crt", PKI + "/apiserver-kubelet-client")
    status, body, _ = get(6443, f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}", context)
    if status != 200:
        raise ValueError(f"HTTP {status}")
    spec = json.loads(body)["spec"]
    renewed = datetime.fromisoformat(spec["renewTime"].replace("Z", "+00:00")).timestamp()
    return {
        "holder": spec.get("holderIdentity") or "",
        "age": time.time() - renewed,
        "duration": spec["leaseDurationSeconds"],
        "transitions": spec.get("leaseTransitions", 0),
    }


def disk(path: str) -> dict[str, Any]:
    """Room on the file system that holds a directory."""
    stat = os.statvfs(path)
    inodes = stat.f_favail / stat.f_files if stat.f_files else 1.0
    return {
        "path": path,
        "size": stat.f_blocks * stat.f_frsize,
        "free": stat.f_bavail * stat.f_frsize,
        "inodes_free": inodes,
    }


def etcd_data(path: str) -> bool:
    """Whether etcd has a log here, and so is a member that may only go on with it; its own criterion."""
    return bool(glob.glob(path + "/member/wal/*.wal"))


def backup() -> dict[str, Any] | None:
    """The schedule of backups that the node takes by itself, and what its last run left; None when it has none."""
    settings_path, status_path, timer = BACKUP
    if not os.path.exists(settings_path):
        return None
    settings = json.loads(read(settings_path))
    common = {name: value for name, value in settings.items() if name not in ("node", "members", "without")}
    status = json.loads(read(status_path)) if os.path.exists(status_path) else {}
    return {
        "calendar": settings["calendar"],
        "store": settings["store"],
        "jitter": settings["jitter"],
        "digest": digest(json.dumps(common, sort_keys=True).encode())[:16],
        "timer": output("systemctl", "show", "-p", "ActiveState", "--value", timer).strip(),
        **{name: status[name] for name in RAN if name in status},
    }


def renewal() -> dict[str, Any] | None:
    """The timer that renews the node's leaves, and what its last run left; None when it has none."""
    settings_path, status_path, timer = RENEWAL
    if not os.path.exists(settings_path):
        return None
    status = json.loads(read(status_path)) if os.path.exists(status_path) else {}
    return {
        "calendar": json.loads(read(settings_path))["calendar"],
        "timer": output("systemctl", "show", "-p", "ActiveState", "--value", timer).strip(),
        **{name: status[name] for name in RENEWED if name in status},
    }


def fsync() -> dict[str, float]:
    """Etcd's own histogram of how long its log took to reach the disk."""
    return {bound: float(count) for bound, count in FSYNC.findall(get(2381, "/metrics")[1])}


def servers() -> dict[str, dict[str, str]]:
    """The API servers as HAProxy sees them."""
    import csv

    rows = csv.DictReader(get(8404, "/stats;csv")[1].lstrip("# ").splitlines())
    return {
        row["svname"]: {"status": row["status"], "check": (row.get("check_status") or "").lstrip("* ")}
        for row in rows
        if row["pxname"] == "kube-apiserver" and row["svname"] not in ("FRONTEND", "BACKEND")
    }


def addresses() -> list[str]:
    """Every address the node carries."""
    return [info["local"] for link in json.loads(output("ip", "-j", "addr")) for info in link.get("addr_info", [])]


def dial(address: str, port: int) -> str:
    """Why a port of another node cannot be reached; "" when it can, up to TLS, so that no server logs a fault."""
    try:
        with socket.create_connection((address, port), 1.0) as stream:
            etcd = port == 2380
            context = trusting(PKI + ("/etcd/ca.crt" if etcd else "/ca.crt"), PKI + "/etcd/peer" if etcd else "")
            context.wrap_socket(stream, server_hostname=address).close()
    except (OSError, ValueError) as error:
        return reason(error)
    return ""


def gather(tasks: dict[tuple[str, str], Callable[[], Any]], seconds: float) -> tuple[dict[str, Any], dict[str, str]]:
    """Run all tasks at once, for so many seconds; what fails or is late is named in the second value, never guessed."""
    done: dict[tuple[str, str], Any] = {}
    missing: dict[str, str] = {}

    def run(name: tuple[str, str], task: Callable[[], Any]) -> None:
        try:
            done[name] = task()
        except Exception as error:  # one fact's trouble must not hide the others
            missing[":".join(filter(None, name))] = reason(error)

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in tasks.items()]
    end = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    for name in tasks.keys() - done.keys():
        missing.setdefault(":".join(filter(None, name)), f"no answer within {seconds:.1f} s")
    facts: dict[str, Any] = {}
    for (fact, part), value in list(done.items()):
        facts.setdefault(fact, {})[part] = value
    return {fact: parts.get("", parts) for fact, parts in facts.items()}, missing


def tasks_for(
    role: str, peers: dict[str, str], data_dir: str, address: str
) -> dict[tuple[str, str], Callable[[], Any]]:
    """What to read on a node of a role, by fact and part of a fact."""
    tasks: dict[tuple[str, str], Callable[[], Any]] = {("services", ""): functools.partial(services, role)}
    if role == "load_balancer":
        tasks["certificates", ""] = balancer_certificates
        return {**tasks, ("files", ""): compared_files, ("servers", ""): servers, ("addresses", ""): addresses}
    tasks.update({("files", ""): compared_files, ("certificates", ""): certificates, ("fsync", ""): fsync})
    tasks["keys", ""] = keys
    tasks["rotation", ""] = rotation
    tasks["backup", ""] = backup
    tasks["renewal", ""] = renewal
    tasks["kept", ""] = functools.partial(os.path.isdir, KEPT)
    tasks["kept_encryption", ""] = functools.partial(os.path.isdir, KEPT_ENCRYPTION)
    tasks.update({("served", name): functools.partial(served, name, address) for name in SERVERS})
    tasks.update({("clients", name): functools.partial(client, name, address) for name in CLIENTS})
    tasks["disk", ""] = functools.partial(disk, data_dir)
    tasks["room", ""] = functools.partial(disk, OPT if os.path.exists(OPT) else "/")
    tasks["etcd_data", ""] = functools.partial(etcd_data, data_dir)
    for path in ("readyz", "livez"):
        tasks["probes", path] = functools.partial(health_path, path)
    for name in CONTROLLERS:
        tasks["probes", name] = functools.partial(controller, name)
        tasks["leases", name] = functools.partial(lease, name)
    for peer, address in peers.items():
        for port in (2380, 6443):
            tasks["peers", f"{peer}:{port}"] = functools.partial(dial, address, port)
    return tasks


def main() -> None:
    """Print what is known."""
    began = time.time()
    asked = json.loads(sys.argv[1])
    tasks = tasks_for(asked["role"], asked["peers"], asked["data_dir"], asked["address"])
    facts, missing = gather(tasks, asked["seconds"])
    public = {name: facts.pop(name) for name in ("certificates", "served") if name in facts}
    host = {**facts.pop("services", {}), **facts, "missing": missing, "uptime": time.monotonic()}
    print(json.dumps({"clock": [began, time.time()], "host": host, **public}), flush=True)  # noqa: T201
    os._exit(0)  # a thread that still waits for an answer must not hold up the rest


if __name__ == "__main__":
    main()
