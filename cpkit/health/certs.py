"""The certificates on every control-plane node: in time, of the right CA, with their keys, for the right names."""

from collections.abc import Iterator
from functools import cache

from cpkit.facts.host import Probe
from cpkit.facts.snapshot import Certificate, NodeFacts, Plan, Snapshot
from cpkit.health.check import Seen, Verdict, check, fail, node_check, ok, unknown, warn
from cpkit.health.quorum import join, plural
from cpkit.pki.authorities import PKI
from cpkit.pki.leaves import NAMES, leaf_path

DAY = 86400.0
WARN_DAYS, FAIL_DAYS = 30, 7
MEMORY_DAYS = 60  # what only a restart renews is told of earlier
AUTHORITIES = (f"{PKI}/ca.crt", f"{PKI}/front-proxy-ca.crt", f"{PKI}/etcd/ca.crt")
FILES = (*AUTHORITIES, *map(leaf_path, NAMES))
# Port -> the unit that serves there, and the file it serves.
SERVERS = {
    "2379": ("etcd", f"{PKI}/etcd/server.crt"),
    "2380": ("etcd", f"{PKI}/etcd/peer.crt"),
    "6443": ("kube-apiserver", f"{PKI}/apiserver.crt"),
    "10257": ("kube-controller-manager", f"{PKI}/controller-manager.crt"),
    "10259": ("kube-scheduler", f"{PKI}/scheduler.crt"),
}
ABSENT = ("Connection refused", "timed out")  # in an error, of a server that is not there
RENEW = "Run cpkit rotate-certs: it issues anew what is missing, ends soon or does not fit, without a restart."
REPLACE = "Run cpkit rotate-certs --ca all: CAs and all that they issued are replaced, one node after the other."
ENDED = "Renew it now: cpkit rotate-certs. When nothing works any more: cpkit rotate-certs --recover-expired."
# What a service needs on its disk to come back after a stop; a change of just these may pass over them.
RETURN = ("certs.present", "certs.valid", "certs.chain", "certs.keys", "certs.names", "certs.authorities")


@cache
def authority_of(path: str) -> str:
    """The CA file that a certificate at this path must be signed by."""
    if path in AUTHORITIES:
        return path
    if path.startswith(f"{PKI}/etcd/") or path.endswith("/apiserver-etcd-client.crt"):
        return f"{PKI}/etcd/ca.crt"
    return f"{PKI}/front-proxy-ca.crt" if path.endswith("/front-proxy-client.crt") else f"{PKI}/ca.crt"


def days_left(certificate: Certificate, now: float) -> float:
    """Days until a certificate ends; negative when it has ended."""
    return (certificate.not_after - now) / DAY


@node_check("certs.present", gate=("after",))
def present(seen: Seen) -> Iterator[Verdict]:
    """Every CA, leaf and kubeconfig is there and can be read."""
    found = {certificate.path: certificate for certificate in seen.node.certificates}
    missing = [short(path) for path in FILES if path not in found]
    if missing:
        yield fail(f"{join(missing)} missing", RENEW)
    for certificate in found.values():
        if certificate.error:
            yield fail(f"{short(certificate.path)} cannot be read: {certificate.error}", RENEW)
    if not missing and not any(certificate.error for certificate in found.values()):
        yield ok(f"{len(found)} certificates")


@node_check("certs.valid", gate=("after",))
def valid(seen: Seen) -> Iterator[Verdict]:
    """Every certificate is valid now."""
    certificates, bad, now = _readable(seen), False, seen.snapshot.taken
    for certificate in certificates:
        if certificate.not_before <= now < certificate.not_after:
            continue
        bad, name = True, short(certificate.path)
        if certificate.not_before > now:
            away = (certificate.not_before - now) / DAY
            yield fail(f"{name} begins only in {away:.1f} days", "Set the clocks right.")
        else:
            ago = -days_left(certificate, now)
            yield fail(f"{name} ended {ago:.0f} {plural('day', round(ago))} ago", ENDED)
    if certificates and not bad:
        yield ok(f"{len(certificates)} certificates are valid")


@node_check("certs.expiry")
def expiry(seen: Seen) -> Iterator[Verdict]:
    """No certificate is about to end."""
    certificates, bad, now = _readable(seen), False, seen.snapshot.taken
    for certificate in certificates:
        left, name = days_left(certificate, now), short(certificate.path)
        if 0 < left <= WARN_DAYS:
            bad = True
            text = f"{name} ends in {left:.0f} {plural('day', round(left))}"
            hint = REPLACE if certificate.path in AUTHORITIES else RENEW
            yield fail(text, hint) if left <= FAIL_DAYS else warn(text, hint)
    lasting = [certificate for certificate in certificates if days_left(certificate, now) > 0]
    if lasting and not bad:
        first = min(lasting, key=lambda certificate: certificate.not_after)
        yield ok(f"{short(first.path)} ends first, in {days_left(first, now):.0f} days")


@node_check("certs.chain", gate=("after",))
def chain(seen: Seen) -> Iterator[Verdict]:
    """Every certificate is signed by the CA that lies on its node."""
    certificates, bad = _readable(seen), False
    for certificate in certificates:
        wanted = authority_of(certificate.path)
        if certificate.signed_by != wanted:
            bad = True
            by = short(certificate.signed_by) or "a CA that is not on this node"
            yield fail(f"{short(certificate.path)} is signed by {by}, not by {short(wanted)}", RENEW)
    if certificates and not bad:
        yield ok(f"{len(certificates)} certificates verify")


@node_check("certs.keys", gate=("after",))
def keys(seen: Seen) -> Iterator[Verdict]:
    """Every private key belongs to its certificate; a CA's key may be kept elsewhere."""
    certificates, bad = _readable(seen), False
    for certificate in certificates:
        if certificate.key == "match" or (certificate.authority and certificate.key == "absent"):
            continue
        bad = True
        words = {"mismatch": "does not belong to it", "absent": "is missing", "unreadable": "cannot be read"}
        yield fail(f"the key of {short(certificate.path)} {words[certificate.key]}", RENEW)
    if certificates and not bad:
        yield ok(f"{sum(certificate.key == 'match' for certificate in certificates)} keys match")


@node_check("certs.names", gate=("after",))
def names(seen: Seen) -> Iterator[Verdict]:
    """The serving certificates name every address they are reached at."""
    found, bad = {certificate.path: certificate for certificate in _readable(seen)}, False
    for path, wanted in _wanted_names(seen.snapshot.plan, seen.node.address).items():
        lacking = wanted - set(found[path].sans) if path in found else set()
        if lacking:
            bad = True
            yield fail(f"{short(path)} does not name {join(sorted(lacking))}", RENEW)
    if found and not bad:
        yield ok("all addresses are named")


@node_check("certs.served", gate=("after",))
def served(seen: Seen) -> Iterator[Verdict]:
    """Every service that runs serves the certificate that lies on its disk."""
    disk = {certificate.path: certificate.fingerprint for certificate in _readable(seen)}
    bad, proven = False, []
    for port, (unit, path) in SERVERS.items():
        state = seen.host.units.get(unit)
        if state is None or not state.running or path not in disk:
            continue  # told by node.units and certs.present
        shown = seen.node.served.get(port)
        if shown is None:
            bad = True
            why = seen.host.missing.get(f"served:{port}", "not read")
            yield unknown(
                f"what {unit} serves on port {port} is not known: {why}", f"On the node: systemctl status {unit}"
            )
        elif shown.fingerprint != disk[path]:
            bad = True
            hint = f"It reloads within a minute; if not: cpkit gate before, then systemctl restart {unit}."
            yield fail(f"{short(path)} on disk is not what {unit} serves on port {port}", hint)
        else:
            proven.append(port)
    if proven and not bad:
        yield ok(f"as on disk, on ports {join(proven)}")


@node_check("certs.accepted", gate=("after",))
def accepted(seen: Seen) -> Iterator[Verdict]:
    """Every client certificate is accepted by the server that it is for, where that server answers."""
    turned_away = {name: probe for name, probe in seen.host.clients.items() if refused(probe)}
    for name, probe in turned_away.items():
        yield fail(f"{name} is not accepted: {probe.error or f'HTTP {probe.status}'}", RENEW)
    taken = sum(probe.ok for probe in seen.host.clients.values())
    if taken and not turned_away:
        yield ok(f"{taken} client certificates are accepted")


@node_check("certs.memory")
def memory(seen: Seen) -> Iterator[Verdict]:
    """The certificate that kube-apiserver made for its own use at its start does not end soon."""
    shown = seen.node.served.get("loopback")
    if shown is None or shown.fingerprint == getattr(seen.node.served.get("6443"), "fingerprint", ""):
        return
    left = days_left(shown, seen.snapshot.taken)
    text = f"kube-apiserver's own loopback certificate ends in {left:.0f} {plural('day', round(left))}"
    if left > MEMORY_DAYS:
        yield ok(text)
        return
    hint = "It lies in memory alone: ask cpkit gate before, then systemctl restart kube-apiserver."
    yield fail(text, hint) if left <= FAIL_DAYS else warn(text, hint)


@check("certs.authorities")
def authorities(snapshot: Snapshot) -> Iterator[Verdict]:
    """Every node's CAs are those of the other nodes; while a CA is being replaced, one in common is enough."""
    held = {name: _authorities(node) for name, node in snapshot.control_plane.items() if node.certificates}
    bad = False
    for name, mine in held.items():
        for path, prints in mine.items():
            others = [theirs[path] for other, theirs in held.items() if other != name and path in theirs]
            strangers = sum(prints.isdisjoint(other) for other in others)
            if strangers * 2 > len(others) or (strangers and len(others) == 1):
                bad = True
                yield fail(
                    f"{short(path)} is not that of the other nodes",
                    "Another cluster's, or changed by hand: put the other nodes' CA back, with its key.",
                    node=name,
                )
    if held and not bad:
        yield ok(f"CAs shared by {join(held)}")


def _authorities(node: NodeFacts) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for certificate in node.certificates:
        if certificate.path in AUTHORITIES and not certificate.error:
            found.setdefault(certificate.path, set()).add(certificate.fingerprint)
    return found


def refused(probe: Probe) -> bool:
    """Whether a server that is there said no; one that is not there says nothing about a certificate."""
    return probe.status in {401, 403} or (not probe.status and not any(word in probe.error for word in ABSENT))


def _wanted_names(plan: Plan, address: str) -> dict[str, set[str]]:
    everywhere = {address, "127.0.0.1"}
    return {
        f"{PKI}/apiserver.crt": everywhere | {plan.endpoint_host, plan.service_address, *plan.extra_sans},
        f"{PKI}/etcd/server.crt": everywhere,
        f"{PKI}/etcd/peer.crt": {address},
    }


def _readable(seen: Seen) -> list[Certificate]:
    return [certificate for certificate in seen.node.certificates if not certificate.error]


def short(path: str) -> str:
    """A file under /etc/kubernetes/pki or /etc/kubernetes, without that."""
    return path.removeprefix(f"{PKI}/").removeprefix("/etc/kubernetes/")
