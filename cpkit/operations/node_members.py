"""What adding and removing nodes asks of etcd: announce a learner, make it a voter, take a member out, clear traces.

Each call looks first whether it was made already, so it may be made again after whatever cut it off: a member is never
added twice, and there is never more than one learner.
"""

import base64
import hashlib
from collections.abc import Callable, Collection, Iterator
from time import monotonic, sleep
from typing import TYPE_CHECKING, TypeVar

from cpkit.backup import resources
from cpkit.errors import CpkitError, Refused
from cpkit.etcd import EtcdRefused, EtcdTimeout, EtcdUnavailable, Member
from cpkit.facts.snapshot import Snapshot
from cpkit.health.members import leader
from cpkit.operations.etcd import hand_over
from cpkit.operations.members import Members

if TYPE_CHECKING:
    from cpkit.etcd import MemberClient

PATIENCE = 60.0  # seconds; for 5 s after any change, etcd may call itself unhealthy, and that is not its last word
CATCH_UP = 300.0  # seconds a learner may take to have the leader's log
POLL = 0.3
LEASES = b"/registry/leases/kube-system/"
T = TypeVar("T")


class Roll:
    """The member list, asked of members that serve, and changed through them."""

    def __init__(self, members: Members, snapshot: Snapshot, besides: Collection[str] = ()) -> None:
        self._members = members
        self._names = tuple(
            name
            for name, status in snapshot.etcd.statuses.items()
            if name not in besides and not status.error and not status.linearizable and not status.learner
        )

    def announce(self, url: str) -> tuple[Member, ...]:
        """Have a member at a URL, a learner if it is new; the member list with it."""

        def attempt(client: "MemberClient") -> tuple[Member, ...]:
            listed = client.members()
            if any(url in member.peer_urls for member in listed):
                return listed
            learners = [member.name or f"{member.id:x}" for member in listed if member.is_learner]
            if learners:
                raise Refused(f"{learners[0]} is a learner already, and etcd takes one at a time", hint="Try later.")
            client.add_learner(url)
            return client.members()

        return self._insist(attempt, PATIENCE)

    def promote(self, url: str) -> None:
        """Make the member at a URL a voter as soon as it has caught up."""

        def attempt(client: "MemberClient") -> None:
            found = next((member for member in client.members() if url in member.peer_urls), None)
            if found is None:
                raise Refused(f"the member at {url} was taken out meanwhile", hint="Run the same command again.")
            if found.is_learner:
                try:
                    client.promote(found.id)
                except EtcdRefused as error:
                    if "sync with leader" not in error.message:
                        raise
                    raise EtcdUnavailable(error.message, node=error.node) from error

        self._insist(attempt, CATCH_UP)

    def remove(self, member_id: int) -> None:
        """Have no member of this ID."""

        def attempt(client: "MemberClient") -> None:
            if any(member.id == member_id for member in client.members()):
                client.remove(member_id)

        self._insist(attempt, PATIENCE)

    def clear(self, name: str, address: str) -> int:
        """Take away what only tells of the API server that ran there; it would be made anew by one that runs."""
        return self._insist(lambda client: _clear(client, name, address), PATIENCE)

    def _insist(self, attempt: "Callable[[MemberClient], T]", patience: float) -> T:
        """Ask one member after the other, for as long as etcd only says that it cannot now."""
        end = monotonic() + patience
        for name in self._round():
            try:
                with self._members.open(name) as client:
                    return attempt(client)
            except (EtcdUnavailable, EtcdTimeout) as error:
                if monotonic() > end:
                    error.hint = "See: cpkit health. Then run the same command again."
                    raise
                sleep(POLL)
        raise CpkitError("no member of etcd serves", hint="See: cpkit health")

    def _round(self) -> Iterator[str]:
        while self._names:
            yield from self._names


def yield_leadership(members: Members, snapshot: Snapshot, leaving: Collection[str]) -> str:
    """Hand leadership to a member that stays, if one that leaves has it; who got it, "" if nobody had to."""
    if leader(snapshot) not in leaving:
        return ""
    stays = {
        name: status.applied
        for name, status in snapshot.etcd.statuses.items()
        if name not in leaving and not status.error and not status.learner
    }
    if not stays:
        return ""
    heir = max(stays, key=lambda name: stays[name])
    hand_over(members, snapshot, heir)
    return heir


def _clear(client: "MemberClient", name: str, address: str) -> int:
    identity = LEASES + b"apiserver-"
    ours = b"kubernetes.io/hostname\x12" + bytes([len(name)]) + name.encode()
    rows = client.rows(identity, resources.after(identity), revision=0, limit=1000)
    keys = [row.key for row in rows if ours in row.value or row.key == LEASES + _identity(name)]
    keys.append(f"/registry/masterleases/{address}".encode())
    there = [key for key in keys if client.get(key) is not None]
    for key in there:
        client.etcd3.delete(key)
    return len(there)


def _identity(hostname: str) -> bytes:
    """The name of an API server's lease, which Kubernetes makes of the machine's name."""
    digest = hashlib.sha256(hostname.encode()).digest()[:16]
    return b"apiserver-" + base64.b32encode(digest).rstrip(b"=").lower()
