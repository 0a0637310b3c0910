"""How far the authorities of a cluster are replaced, what comes next, and whether a node is done with it; pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from cpkit.errors import Refused, Unreachable
from cpkit.facts.snapshot import NodeFacts, Snapshot
from cpkit.health.certs import authority_of
from cpkit.pki.leaves import ADMIN, NAMES, leaf_path
from cpkit.pki.succession import FILES, STAGES, WORDS, Name, Stage, flags
from cpkit.rolling import Pass

PLAYBOOK = "rotate_authorities.yml"
ETCD, API, MANAGER, SCHEDULER = "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"
PASSES: Mapping[Stage, str] = {
    "trust": "Trust old and new",
    "issue": "Issue with the new",
    "distrust": "Trust the new alone",
}
# Which services are started anew for which authorities, in this order. The rest is read from the files as they change.
# etcd and the tokens' keys are read but once; kubeconfigs' CAs are before 1.36. That the controllers show their new
# certificates must not wait for their next poll, so they are restarted when those are issued.
RESTARTS: Mapping[Stage, Mapping[str, frozenset[Name]]] = {
    "trust": {
        ETCD: frozenset({"etcd"}),
        API: frozenset({"cluster", "etcd", "service_account"}),
        MANAGER: frozenset({"cluster"}),
        SCHEDULER: frozenset({"cluster"}),
    },
    "issue": {
        API: frozenset({"service_account"}),
        MANAGER: frozenset({"cluster", "service_account"}),
        SCHEDULER: frozenset({"cluster"}),
    },
    "distrust": {
        ETCD: frozenset({"etcd"}),
        API: frozenset({"cluster", "etcd", "service_account"}),
        MANAGER: frozenset({"cluster"}),
        SCHEDULER: frozenset({"cluster"}),
    },
}
# The kubeconfig's own CA is changed with the cluster's.
EMBEDDED = f"{ADMIN}#certificate-authority"


@dataclass(frozen=True)
class Plan:
    """What is replaced, and how far an earlier run has come with it; `new` is known only then."""

    names: tuple[Name, ...]
    new: Mapping[Name, str]  # name -> fingerprint
    restarts: Mapping[Stage, tuple[str, ...]]

    @property
    def resumed(self) -> bool:
        """Whether an earlier run began it."""
        return bool(self.new)


def plan(snapshot: Snapshot, wanted: tuple[Name, ...]) -> Plan:
    """What there is to do; Refused or Unreachable, naming a node, where it may not be begun or gone on with."""
    _refuse_silent(snapshot)
    under_way = new_ones(snapshot)
    if under_way and set(under_way) != set(wanted):
        raise Refused(
            f"another rotation is under way: of {_listed(under_way)}",
            hint=f"Finish it first: cpkit rotate-certs {flags(tuple(under_way))}",
        )
    if not under_way:
        _refuse_different(snapshot, wanted)
        _refuse_absent_keys(snapshot, wanted)
    return Plan(wanted, under_way, {stage: restarts(stage, wanted) for stage in STAGES})


def new_ones(snapshot: Snapshot) -> dict[Name, str]:
    """The new authorities that nodes keep aside, by fingerprint; Refused when they keep different ones."""
    found: dict[Name, str] = {}
    for node, facts in snapshot.control_plane.items():
        held = facts.host.rotation if facts.host else None
        for name in FILES:
            mark = held.new.get(name, "") if held else ""
            if mark and found.setdefault(name, mark) != mark:
                raise Refused(
                    f"it keeps another new {WORDS[name].removeprefix('the ')} aside than other nodes",
                    node=node,
                    hint="Look under /var/lib/cpkit/rotation on every node: one was put there by hand.",
                )
    return found


def trusted(facts: NodeFacts, name: Name) -> tuple[str, ...]:
    """The fingerprints of all that a node trusts in the place of an authority; what issues is the first."""
    if name == "service_account":
        return facts.host.rotation.tokens if facts.host and facts.host.rotation else ()
    return tuple(each.fingerprint for each in facts.certificates if each.path == FILES[name][0] and not each.error)


def reached(held: tuple[str, ...], new: str) -> int:
    """How many stages the files of one authority have come: 0 with the old alone, 3 with the new alone."""
    if new not in held:
        return 0
    if held[0] != new:
        return 1
    return 2 if len(held) > 1 else 3


def at(facts: NodeFacts, new: Mapping[Name, str]) -> int:
    """How many stages a node has come with all of them."""
    return min(reached(trusted(facts, name), mark) for name, mark in new.items())


def done(stage: Stage, new: Mapping[Name, str]) -> Callable[[Snapshot, str], bool]:
    """Whether a node is through a stage: its files, its leaves, what its services have read, nothing left aside."""
    number = STAGES.index(stage) + 1

    def judge(snapshot: Snapshot, node: str) -> bool:
        facts = snapshot.nodes[node]
        come = at(facts, new)
        if come != number:
            return come > number
        held = facts.host.rotation if facts.host else None
        if held is None or stage in held.kept or not _started(facts, stage, new):
            return False
        return _embedded(facts, new) and (stage == "trust" or _issued(facts, new))

    return judge


def beyond(snapshot: Snapshot, stage: Stage, new: Mapping[Name, str]) -> bool:
    """Whether any node has begun with what comes after a stage, so that it was proven before."""
    number = STAGES.index(stage) + 1
    return any(facts.host is not None and at(facts, new) > number for facts in snapshot.control_plane.values())


def passing(stage: Stage, new: Mapping[Name, str], variables: Mapping[str, object]) -> Pass:
    """A stage as a pass of the rolling engine."""
    units = restarts(stage, tuple(new))
    given = {**variables, "authorities_stage": stage, "authorities_restarts": list(units), "gate_asked": True}
    return Pass(PASSES[stage], PLAYBOOK, done(stage, new), given, stops_etcd=ETCD in units)


def restarts(stage: Stage, names: tuple[Name, ...]) -> tuple[str, ...]:
    """The services that a stage restarts on each node, in order."""
    return tuple(unit for unit, causes in RESTARTS[stage].items() if causes & set(names))


def _started(facts: NodeFacts, stage: Stage, new: Mapping[Name, str]) -> bool:
    """Whether each service of the stage was started after the files changed that it is restarted for."""
    host = facts.host
    if host is None or host.rotation is None:
        return False
    for unit in restarts(stage, tuple(new)):
        causes = RESTARTS[stage][unit] & new.keys()
        changed = [
            host.rotation.changed.get(path, float("inf")) for name in causes for path in FILES[name] if _read(path)
        ]
        running = host.units.get(unit)
        if running is None or not running.running or running.started <= max(changed, default=0.0):
            return False
    return True


def _read(path: str) -> bool:
    """Whether a service reads it; the keys of CAs only sign."""
    return not path.endswith("ca.key")


def _embedded(facts: NodeFacts, new: Mapping[Name, str]) -> bool:
    embeds = [each.fingerprint for each in facts.certificates if each.path == EMBEDDED]
    return "cluster" not in new or tuple(embeds) == trusted(facts, "cluster")


def _issued(facts: NodeFacts, new: Mapping[Name, str]) -> bool:
    """Whether every leaf of the authorities is from the new ones."""
    marks = {FILES[name][0]: mark for name, mark in new.items()}
    signers = {each.path: each.signer for each in facts.certificates}
    leaves = {leaf_path(name): marks.get(authority_of(leaf_path(name))) for name in NAMES}
    return all(signers.get(path) == mark for path, mark in leaves.items() if mark)


def unknown(snapshot: Snapshot) -> dict[str, str]:
    """The nodes that did not tell what they hold, and why."""
    found = {}
    for name, facts in snapshot.control_plane.items():
        missing = facts.host.missing if facts.host else {"": facts.error}
        if why := next((missing[each] for each in ("", "rotation", "certificates") if each in missing), ""):
            found[name] = why
    return found


def told(snapshot: Snapshot) -> Snapshot:
    """A snapshot in which a node that did not tell what it holds is as one that did not answer."""
    silent = {name: replace(snapshot.nodes[name], host=None, error=why) for name, why in unknown(snapshot).items()}
    return replace(snapshot, nodes={**snapshot.nodes, **silent}) if silent else snapshot


def _refuse_silent(snapshot: Snapshot) -> None:
    for name, why in unknown(snapshot).items():
        hint = snapshot.nodes[name].hint or "What every node trusts must be known before any of it is replaced."
        raise Unreachable(f"not known what it holds: {why}", node=name, hint=hint)


def _refuse_different(snapshot: Snapshot, wanted: tuple[Name, ...]) -> None:
    first, *others = snapshot.control_plane.values()
    for name in FILES:
        for facts in others:
            if trusted(facts, name) != trusted(first, name):
                raise Refused(
                    f"{facts.name} and {first.name} differ in {WORDS[name]}",
                    hint="Look: cpkit health. Put the right one on all nodes, with its key; nothing was changed.",
                )
        if name in wanted and not trusted(first, name):
            raise Refused(f"{WORDS[name]} cannot be read", node=first.name, hint="Look: cpkit certs")


def _refuse_absent_keys(snapshot: Snapshot, wanted: tuple[Name, ...]) -> None:
    """A CA whose key is kept elsewhere signs nothing here."""
    for facts in snapshot.control_plane.values():
        for each in facts.certificates:
            if each.key != "match" and each.path in {FILES[name][0] for name in wanted if name != "service_account"}:
                state = {"absent": "is not on the nodes", "mismatch": "does not belong to it"}.get(
                    each.key, "is broken"
                )
                raise Refused(
                    f"the key of {each.path} {state}",
                    node=facts.name,
                    hint="A CA whose key is kept elsewhere is not replaced by cpkit; nothing was changed.",
                )


def _listed(names: Mapping[Name, str]) -> str:
    return ", ".join(WORDS[name] for name in names)
