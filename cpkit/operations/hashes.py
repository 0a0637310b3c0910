"""What the members hold at the revision of a backup, by their own hashes."""

from contextlib import nullcontext

from cpkit import etcd
from cpkit.backup.manifest import Hash
from cpkit.backup.source import Choice
from cpkit.errors import CpkitError
from cpkit.facts import member
from cpkit.inventory import Cluster, Node
from cpkit.operations.listener import Listener
from cpkit.ssh import fan_out

CALL = 30.0  # seconds for one call that counts or hashes a large database


class Hashes:
    """HashKV of the source, and of all members unless the look has just compared them.

    A hash reads the whole database, so all members are not asked for it twice within seconds; they are when the source
    cannot be asked any longer.
    """

    def __init__(self, cluster: Cluster, choice: Choice, client: etcd.MemberClient, listener: Listener) -> None:
        self._choice, self._client, self._listener = choice, client, listener
        self._source = [node for node in cluster.control_plane if node.name == choice.node]
        self._others = [node for node in cluster.control_plane if node.name in choice.others]

    def at(self, revision: int) -> tuple[Hash, ...]:
        """The hashes at a revision; who cannot be hashed is told, and left out."""
        if self._choice.compared:
            return self._asked(self._source, revision) or self._asked(self._others, revision)
        return self._asked([*self._source, *self._others], revision)

    def _asked(self, nodes: list[Node], revision: int) -> tuple[Hash, ...]:
        found = fan_out(nodes, lambda node: self._ask(node, revision), deadline=CALL + 5)
        for name, answer in found.items():
            if isinstance(answer, CpkitError):
                self._listener.say(f"{name} could not be hashed at revision {revision}: {answer.message}")
        return tuple(answer for answer in found.values() if isinstance(answer, Hash))

    def _ask(self, node: Node, revision: int) -> Hash:
        mine = node.name == self._choice.node
        with nullcontext(self._client) if mine else member.open_member(node, timeout=CALL) as client:
            said = client.hash_kv(revision)
        return Hash(node.name, said.hash, said.revision, said.compact_revision)
