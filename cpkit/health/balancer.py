"""The load balancers: which API servers they use, and who holds the VIP."""

from collections.abc import Iterator, Mapping

from cpkit.facts.host import Server
from cpkit.facts.snapshot import NodeFacts, Snapshot
from cpkit.health.check import NODE_HINT, Verdict, check, fail, ok, unknown, warn
from cpkit.health.quorum import join

CA, HAPROXY_CA = "/etc/kubernetes/pki/ca.crt", "/etc/haproxy/kubernetes-ca.crt"
HAPROXY = "On the balancer: systemctl status haproxy, journalctl -u haproxy"


def vip_holders(snapshot: Snapshot) -> tuple[str, ...]:
    """The balancers that carry the endpoint's address."""
    return tuple(
        name
        for name, node in snapshot.load_balancers.items()
        if node.host and snapshot.plan.endpoint_host in node.host.addresses
    )


@check("lb.backends", gate=("before", "after"))
def backends(snapshot: Snapshot) -> Iterator[Verdict]:
    """Every balancer sees every API server up."""
    views = {}
    for name, node in snapshot.load_balancers.items():
        if node.host is None:
            yield unknown(f"not known: {node.error}", node.hint or NODE_HINT, node=name)
        elif not node.host.servers:
            yield fail(node.host.missing.get("servers", "HAProxy tells of no servers"), HAPROXY, node=name)
        else:
            views[name] = node.host.servers
    for target in snapshot.plan.control_plane if views else ():
        yield _seen_by(views, target)


def _bundle(node: NodeFacts, path: str) -> set[str]:
    """The CAs in a file, whatever their order, which turns while one replaces another."""
    return {each.fingerprint for each in node.certificates if each.path == path and not each.error}


def _seen_by(views: Mapping[str, Mapping[str, Server]], node: str) -> Verdict:
    down = {}
    for balancer, servers in views.items():
        server = servers.get(node)
        if server is None:
            return fail(
                f"{balancer} does not know it",
                "Run cpkit bootstrap to rewrite the balancer's configuration.",
                node=node,
            )
        if not server.status.startswith("UP"):
            down[balancer] = f"{server.status}{f' ({server.check})' if server.check else ''}"
    if not down:
        return ok(f"up on {join(views)}", node=node)
    text = join(f"{status} on {balancer}" for balancer, status in down.items())
    if any(status.startswith(("DRAIN", "MAINT")) for status in down.values()):
        return warn(text, f"Set back to ready when the work on {node} is done.", node=node)
    return fail(text, f"Look at api.ready of {node}, and at the route from the balancer to its port 6443.", node=node)


@check("lb.trust")
def trust(snapshot: Snapshot) -> Iterator[Verdict]:
    """Every balancer verifies the API servers against the cluster's CA."""
    authorities = {node.host.files.get(CA, "") for node in snapshot.control_plane.values() if node.host} - {""}
    bundles = [bundle for node in snapshot.control_plane.values() if (bundle := _bundle(node, CA))]
    for name, node in snapshot.load_balancers.items():
        held = node.host.files.get(HAPROXY_CA, "") if node.host else ""
        if not held or not authorities:
            yield unknown(f"not known: {node.error or 'the CA file was not read'}", node.hint or NODE_HINT, node=name)
        elif held in authorities or _bundle(node, HAPROXY_CA) in bundles:
            yield ok("the cluster's CA", node=name)
        else:
            text = "checks the API servers against another CA than the cluster's"
            yield warn(text, "Run cpkit bootstrap, which lays down the right one.", node=name)


@check("lb.vip", gate=("before", "after"))
def vip(snapshot: Snapshot) -> Iterator[Verdict]:
    """Exactly one balancer holds the endpoint's address."""
    if not snapshot.plan.load_balancers:
        return
    address, holders = snapshot.plan.endpoint_host, vip_holders(snapshot)
    silent = [name for name, node in snapshot.load_balancers.items() if node.host is None]
    if len(holders) > 1:
        hint = "They do not hear each other: let VRRP (protocol 112) pass between the balancers."
        yield fail(f"{join(holders)} all hold {address}", hint)
    elif not holders and silent:
        yield unknown(f"nobody reached holds {address}; {join(silent)} did not answer", NODE_HINT)
    elif not holders:
        yield fail(f"nobody holds {address}", "On the balancers: systemctl status keepalived, journalctl -u keepalived")
    else:
        yield ok(f"{holders[0]} holds {address}")
