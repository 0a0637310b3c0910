"""Whether a machine holds another cluster, or a part of this very one."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from cpkit.facts.preflight_snapshot import Facts, NodeState, PreflightSnapshot
from cpkit.health.check import fail, ok
from cpkit.health.preflight_verdict import Verdicts, names, readable

# Units of other ways to run Kubernetes; they would fight for the same ports and files.
RIVALS = (
    "k3s",
    "k3s-agent",
    "rke2-server",
    "rke2-agent",
    "k0scontroller",
    "k0sworker",
    "snap.microk8s.daemon-kubelite",
)


@dataclass(frozen=True)
class Identity:
    """What the nodes agree this cluster is: most of them, when they do not."""

    name: str
    id: str
    authority: str


def identity(snapshot: PreflightSnapshot) -> Identity:
    """The identity that the nodes marked with this cluster's name carry."""
    ours = [facts for _, facts in readable(snapshot) if facts.marker_name == snapshot.cluster.name]
    return Identity(
        snapshot.cluster.name,
        _agreed(facts.marker_id for facts in ours),
        _agreed(facts.authority for facts in ours),
    )


def _agreed(values: Iterable[str]) -> str:
    """The most frequent value that is not empty; `?` when two are equally frequent."""
    most = Counter(value for value in values if value).most_common(2)
    if len(most) == 2 and most[0][1] == most[1][1]:
        return "?"
    return str(most[0][0]) if most else ""


def leftovers(snapshot: PreflightSnapshot) -> Verdicts:
    """No node holds data of another cluster; what is left of this one is taken up again."""
    cluster = identity(snapshot)
    for state, facts in readable(snapshot):
        found = [*_data(state, facts, cluster, snapshot), *_units(state, facts, cluster)]
        yield from found
        if not found:
            resumed = facts.marker_name == cluster.name
            yield ok(f"part of {cluster.name} already" if resumed else "none", node=state.name)


def _data(state: NodeState, facts: Facts, cluster: Identity, snapshot: PreflightSnapshot) -> Verdicts:
    data_dir = snapshot.cluster.spec.etcd_data_dir
    held = _held(facts, data_dir)
    aside = f"If nobody needs it: {_move_aside(facts, data_dir)}" if held or facts.marker_name else ""
    if facts.marker_name == cluster.name:
        yield from _disagreement(state, facts, cluster, aside)
    elif facts.marker_name:
        text = f"belongs to the cluster {facts.marker_name} (/etc/cpkit/cluster.json)"
        yield fail(text, f"Use that cluster's inventory. {aside}", node=state.name)
    elif held and not (facts.authority and facts.authority == cluster.authority):
        yield fail(f"holds an earlier cluster: {names(held)}", aside, node=state.name)


def _disagreement(state: NodeState, facts: Facts, cluster: Identity, aside: str) -> Verdicts:
    if cluster.id and facts.marker_id != cluster.id:
        text = f"belongs to another cluster that is also called {cluster.name} (id {facts.marker_id or 'none'})"
        yield fail(text, aside, node=state.name)
    elif facts.marker_node not in ("", state.name):
        text = f"this machine is {facts.marker_node} of {cluster.name}, not {state.name}"
        yield fail(text, f"Give {state.name} its own ansible_host. If it was renamed: {aside}", node=state.name)
    elif cluster.authority and facts.authority and facts.authority != cluster.authority:
        text = f"its CA (sha256 {facts.authority[:12]}) is not that of the other nodes"
        yield fail(text, f"Copy /etc/kubernetes/pki/ca.* from them. {aside}", node=state.name)


def _held(facts: Facts, data_dir: str) -> list[str]:
    kubernetes = [name for name in facts.kubernetes if name != "manifests" or facts.manifests]
    held = [f"etcd data in {data_dir}"] if facts.etcd_data else []
    if kubernetes:
        held.append(f"/etc/kubernetes ({', '.join(kubernetes[:4])}{', …' if len(kubernetes) > 4 else ''})")
    return held


def _move_aside(facts: Facts, data_dir: str) -> str:
    """The commands that keep everything and make room."""
    steps = []
    if any(unit.name == "etcd.service" and unit.active for unit in facts.units):
        steps.append("systemctl disable --now etcd")
    if facts.etcd_data and facts.etcd_data_mounted:
        steps.append(f"mv {data_dir}/member ELSEWHERE")
    elif facts.etcd_data:
        steps.append(f"mv {data_dir} {data_dir}.old")
    if facts.kubernetes:
        steps.append("mv /etc/kubernetes /etc/kubernetes.old")
    if facts.marker_name:
        steps.append("mv /etc/cpkit /etc/cpkit.old")
    return f"`{' && '.join(steps)}`."


def _units(state: NodeState, facts: Facts, cluster: Identity) -> Verdicts:
    units = {unit.name.removesuffix(".service"): unit for unit in facts.units}
    for name in RIVALS:
        if name in units and (units[name].active or units[name].enabled):
            hint = f"Uninstall it, or `systemctl disable --now {name}`, or use another machine."
            yield fail(f"{name} is {_how(units[name].active)}", hint, node=state.name)
    kubelet = units.get("kubelet")
    if kubelet and kubelet.active and facts.manifests:
        text = f"a kubelet runs static pods here: {', '.join(facts.manifests)}"
        yield fail(text, "`kubeadm reset`, or `systemctl disable --now kubelet`.", node=state.name)
    if (
        state.node.role == "load_balancer"
        and facts.balancing_in_use
        and not (facts.balancing_managed or facts.marker_name == cluster.name)
    ):
        text = "haproxy or keepalived is configured here for something else"
        hint = "cpkit would replace /etc/haproxy/haproxy.cfg and /etc/keepalived/keepalived.conf: use another machine."
        yield fail(text, hint, node=state.name)


def _how(active: bool) -> str:
    return "running" if active else "enabled"
