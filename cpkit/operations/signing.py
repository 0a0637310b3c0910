"""Which certificates that a CA elsewhere signed are taken into use, and all that forbids it; pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cpkit.errors import UsageError
from cpkit.facts.requests import Waiting
from cpkit.facts.snapshot import NodeFacts, Snapshot
from cpkit.inventory import Cluster
from cpkit.operations.leaves import identity
from cpkit.operations.rotation import MENDS, PLAYBOOK
from cpkit.operations.signing_folder import Folder, Place, file_of
from cpkit.pki.leaves import Leaf, leaf_path, leaves_of
from cpkit.pki.requests import REQUESTS, Offer, faults, fingerprint, request_path
from cpkit.rolling import Pass


@dataclass(frozen=True)
class Taking:
    """The certificates that are taken into use, and the requests that they answer."""

    certificates: Mapping[str, Mapping[str, str]]  # node -> leaf -> PEM
    answered: Mapping[str, list[str]]  # node -> what is let go of afterwards

    def on(self, node: str) -> dict[str, dict[str, str]]:
        """As role leaves takes it."""
        return {node: dict(self.certificates.get(node, {}))}


def places(cluster: Cluster) -> dict[Place, Leaf]:
    """Every leaf of every node, as the inventory wants it."""
    return {
        (node.name, leaf.name): leaf for node in cluster.control_plane for leaf in leaves_of(identity(cluster, node))
    }


def taking(
    leaves: Mapping[Place, Leaf],
    waiting: Mapping[str, Waiting],
    folder: Folder,
    snapshot: Snapshot,
    only: frozenset[str] = frozenset(),
) -> Taking:
    """What comes of a folder; UsageError that tells everything that is wrong in it, before any node is touched."""
    asked = {(node, leaf) for node, each in waiting.items() for leaf in each.requests if not only or leaf in only}
    problems = [f"{name}: belongs to no leaf of this cluster" for name in folder.strange]
    problems += [f"{file_of(place, 'crt')}: is missing" for place in leaves if place in asked - {*folder.certificates}]
    wanted: dict[str, dict[str, str]] = {}
    for (node, leaf), pem in folder.certificates.items():
        if only and leaf not in only:
            continue
        found = []
        if (node, leaf) in asked:
            wanted.setdefault(node, {})[leaf] = pem
            held = waiting[node]
            profile = leaves[node, leaf]
            found = faults(Offer(pem, held.requests[leaf], profile, held.trusted[profile.authority]))
        elif not _in_use(snapshot.nodes[node], leaf, pem):
            found = ["no request waits for it, and it is not in use"]
        problems += [f"{file_of((node, leaf), 'crt')}: {fault}" for fault in found]
    if problems:
        raise _refusal(folder, problems)
    return Taking(wanted, {node: _answered(waiting[node], leaves) for node, leaves in wanted.items()})


def installing(taking: Taking) -> Pass:
    """The pass that lays them down; a node is done when it has them and keeps none of the previous aside."""
    return Pass("Renew leaves", PLAYBOOK, _installed(taking), {"gate_asked": True}, mends=MENDS)


def _installed(taking: Taking) -> Callable[[Snapshot, str], bool]:
    def done(snapshot: Snapshot, node: str) -> bool:
        facts, wanted = snapshot.nodes[node], taking.certificates.get(node, {})
        aside = facts.host is not None and facts.host.kept
        return not aside and all(_in_use(facts, leaf, pem) for leaf, pem in wanted.items())

    return done


def _in_use(facts: NodeFacts, leaf: str, pem: str) -> bool:
    held = next((each.fingerprint for each in facts.certificates if each.path == leaf_path(leaf)), "")
    return bool(held) and held == fingerprint(pem)


def _answered(waiting: Waiting, wanted: Mapping[str, str]) -> list[str]:
    if wanted.keys() >= waiting.requests.keys():
        return [REQUESTS]
    return [request_path(leaf, kind) for leaf in wanted for kind in ("key", "csr")]


def _refusal(folder: Folder, problems: list[str]) -> UsageError:
    lines = "".join(f"\n  {text}" for text in problems)
    return UsageError(
        f"not all is right in {folder.path}:{lines}",
        hint="Nothing was touched. Mend the files and run the same command again, or name leaves with --only.\n"
        "  Without any .crt in the folder it writes the requests again, anew where they fit no longer.",
    )
