"""The API servers: ready each, ready through the endpoint, and alike."""

from collections.abc import Callable, Iterator, Mapping

from cpkit.facts.host import Host
from cpkit.facts.snapshot import Snapshot
from cpkit.health.check import NODE_HINT, Seen, Verdict, check, commonest, fail, node_check, ok, unknown, warn
from cpkit.health.quorum import join

COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
BUNDLES = ("/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/front-proxy-ca.crt", "/etc/kubernetes/pki/etcd/ca.crt")
LOG = "On the node: journalctl -u kube-apiserver"


@node_check("api.ready", gate=("before", "after"))
def ready(seen: Seen) -> Iterator[Verdict]:
    """Every API server says it is ready."""
    yield _probed(seen, "readyz", "ready")


@node_check("api.live", gate=("after",))
def live(seen: Seen) -> Iterator[Verdict]:
    """Every API server says it is alive."""
    yield _probed(seen, "livez", "alive")


def _probed(seen: Seen, path: str, word: str) -> Verdict:
    probe = seen.host.probes.get(path)
    if probe is None:
        return unknown(f"not known: {seen.host.missing.get(f'probes:{path}', 'not probed')}", LOG)
    if probe.ok:
        return ok(f"{word} in {probe.seconds * 1000:.0f} ms")
    if probe.failed:
        return fail(f"not {word}: {join(probe.failed)}", LOG)
    return fail(f"not {word}: {probe.error or f'HTTP {probe.status}'}", LOG)


@check("api.endpoint")
def endpoint(snapshot: Snapshot) -> Iterator[Verdict]:
    """The API is ready through its endpoint, verified against the cluster's CA."""
    where = f"{snapshot.plan.endpoint_host}:{snapshot.plan.endpoint_port}"
    probe = snapshot.endpoint
    if probe is None:
        yield unknown(f"{where}: no node told the cluster's CA to verify it against", NODE_HINT)
    elif probe.ok:
        yield ok(f"{where} ready in {probe.seconds * 1000:.0f} ms")
    else:
        balancer = "the balancers" if snapshot.plan.load_balancers else "your load balancer"
        text = f"{where} does not answer: {probe.error or f'HTTP {probe.status}'}"
        yield fail(text, f"If the API servers are ready, look at {balancer} and the route to {where}.")


@node_check("api.version")
def versions(seen: Seen) -> Iterator[Verdict]:
    """Every component runs the version that the inventory asks for, from the binary that is selected."""
    wanted, found = seen.snapshot.plan.kubernetes, seen.host.components
    idle = [name for name in COMPONENTS if name not in found or not found[name].running]
    odd = {name: found[name].running for name in COMPONENTS if name not in idle and found[name].running != wanted}
    staged = [name for name in COMPONENTS if name in found and found[name].selected not in {found[name].running, ""}]
    if idle:
        yield unknown(f"the version of {join(idle)} is not known", "It is told by the process, so start it.")
    if odd:
        text = f"{join(f'{name} {version}' for name, version in odd.items())}; the inventory asks for {wanted}"
        yield warn(text, "Finish the upgrade, or set cluster_kubernetes_version to what runs.")
    if staged and not idle:
        yield warn(f"{join(staged)} would start another version than runs", "Finish the upgrade that was begun.")
    if not idle and not odd and not staged:
        yield ok(f"Kubernetes {wanted}")


@check("api.emulation")
def emulation(snapshot: Snapshot) -> Iterator[Verdict]:
    """No upgrade waits to be finalized: every component behaves like the version it is."""
    wanted = snapshot.plan.emulates
    acting: dict[str, list[str]] = {}
    others, known = [], False
    for name, node in snapshot.control_plane.items():
        for component, found in (node.host.components if node.host else {}).items():
            if component not in COMPONENTS or not found.running:
                continue
            known = True
            if found.emulates:
                acting.setdefault(f"{found.running} as {found.emulates}", []).append(name)
            if found.emulates != wanted or found.would_emulate != found.emulates:
                others.append(f"{component} on {name}")
    if acting:
        told = join(f"{version} on {join(dict.fromkeys(nodes))}" for version, nodes in acting.items())
        hint = "End it: cpkit upgrade finalize. Or take it back: cpkit upgrade rollback"
        yield warn(f"the upgrade is not finalized: Kubernetes {told}", hint)
    if others and (wanted or acting):
        asked = f"cluster_emulated_version is {wanted or 'not set'}"
        yield warn(f"{asked}, and it is otherwise: {join(others)}", "Finish what was begun; the same command goes on.")
    if not known:
        yield unknown("no process told what it emulates", NODE_HINT)
    elif not acting and not wanted:
        yield ok("every component behaves like the version it is")


@check("api.flags")
def flags(snapshot: Snapshot) -> Iterator[Verdict]:
    """All API servers run with the same flags, the node's own address aside."""
    yield from _alike(
        snapshot, lambda host: host.flags, "flags", level=warn, hint="See cpkit plan, then run cpkit reconfigure."
    )


@check("api.strangers")
def strangers(snapshot: Snapshot) -> Iterator[Verdict]:
    """Nobody but the inventory's nodes serves the API."""
    if snapshot.etcd.servers is None:
        yield unknown("no etcd member could be asked who serves the API", "Look at etcd.members first.")
        return
    known = set(snapshot.plan.control_plane.values())
    odd = [address for address in snapshot.etcd.servers if address not in known]
    for address in odd:
        text = f"an API server at {address} serves this cluster, and is none of the inventory's"
        stop = "systemctl disable --now kube-apiserver kube-controller-manager kube-scheduler etcd"
        yield fail(text, f"A node that was removed or replaced must not come back. There: {stop}")
    if not odd:
        yield ok(f"{len(snapshot.etcd.servers)} API servers, all of the inventory")


@check("api.trust")
def trust(snapshot: Snapshot) -> Iterator[Verdict]:
    """All nodes trust the same CAs."""
    yield from _alike(snapshot, _only(BUNDLES), "CA bundles", level=warn)


@check("api.encryption")
def encryption(snapshot: Snapshot) -> Iterator[Verdict]:
    """All API servers encrypt Secrets with the same configuration."""
    yield from _alike(snapshot, _only(("/etc/kubernetes/encryption.yaml",)), "encryption configuration", level=fail)


@check("api.tokens")
def tokens(snapshot: Snapshot) -> Iterator[Verdict]:
    """All API servers verify service-account tokens with the same key."""
    yield from _alike(snapshot, _only(("/etc/kubernetes/pki/sa.pub",)), "service-account key", level=fail)


def _only(paths: tuple[str, ...]) -> Callable[[Host], Mapping[str, str]]:
    return lambda host: {path: host.files[path] for path in paths if path in host.files}


def _alike(
    snapshot: Snapshot,
    read: Callable[[Host], Mapping[str, str]],
    what: str,
    *,
    level: Callable[..., Verdict],
    hint: str = "Run cpkit bootstrap, which lays down the same files everywhere.",
) -> Iterator[Verdict]:
    """Compare what each node shows to what most nodes show, naming the keys that differ and never their values."""
    shown = {name: dict(read(node.host)) if node.host else {} for name, node in snapshot.control_plane.items()}
    known = {name: values for name, values in shown.items() if values}
    for name in (name for name in shown if name not in known):
        why = snapshot.nodes[name].error or "not read"
        yield unknown(f"not known: {why}", snapshot.nodes[name].hint or NODE_HINT, node=name)
    if not known:
        return
    most = commonest(known.values())
    for name, values in known.items():
        odd = sorted(key for key in most.keys() | values.keys() if most.get(key) != values.get(key))
        if odd:
            text = f"{what} differ from the other nodes': {join(odd)}"
            yield level(text, hint, node=name)
    if all(values == most for values in known.values()) and len(known) == len(shown):
        yield ok(f"{what} equal on {join(known)}")
