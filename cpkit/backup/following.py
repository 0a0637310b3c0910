"""Follow a cluster from member to member, into a chain of segments."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

from cpkit import etcd
from cpkit.backup.errors import BackupError
from cpkit.backup.growing import Growing
from cpkit.backup.hashing import Hashing
from cpkit.errors import CpkitError, Exit, Refused

WAIT = 0.2  # seconds to wait for a message
AGAIN = 0.5
MOVES_ON = (Exit.FAILED, Exit.UNKNOWN)  # errors of one member, that another may not have
Members = Callable[[int], AbstractContextManager[etcd.MemberClient]]  # a member to follow, another for each number
End = Literal["told", "compacted", "reached", "other"]


@dataclass(frozen=True)
class Where:
    """How far a stream has come."""

    node: str
    revision: int  # received
    stored: int
    lag: float  # seconds since it was known that nothing is missing
    bytes: int
    segments: int


@dataclass
class Following:
    """One run that follows; it goes on from another member when one fails."""

    growing: Growing
    members: Members
    reason: Callable[[], End | None]  # why to end now, if there is one
    status: Callable[[Where], None]
    say: Callable[[str], None]
    _turn: int = field(default=0, init=False)
    _known: set[int] = field(default_factory=set, init=False)

    def run(self) -> End:
        """Follow until there is a reason to end; what was received by then is in the store."""
        told = ""
        while True:
            try:
                with self.members(self._turn) as client:
                    return self._follow(client, told)
            except etcd.Compacted:
                self.growing.close()
                return "compacted"
            except CpkitError as error:
                if isinstance(error, BackupError) or error.code not in MOVES_ON:
                    raise
                self.growing.paused()
                if str(error) != told:
                    told = str(error)
                    self.say(f"goes on from another member: {told}")
            self._turn += 1
            self.growing.close()
            if end := self.reason():
                return end
            time.sleep(AGAIN)

    def _follow(self, client: etcd.MemberClient, told: str) -> End:
        status = client.status()
        if f"{status.cluster_id:x}" != self.growing.base.cluster_id:
            return "other"
        if status.is_learner or not status.leader:
            raise etcd.EtcdUnavailable("it is a learner, or knows no leader", node=client.node)
        watch = client.watch(self.growing.revision + 1)
        if told:
            self.say(f"follows {client.node} from revision {self.growing.revision + 1}")
        with Hashing(client, self.growing.compare) as hashing:
            try:
                while True:
                    if end := self.reason():
                        hashing.last(self.growing.revision)
                        self._store(client)
                        return end
                    self._take(watch.next(WAIT))
                    if self.growing.due:
                        self._store(client)
                        hashing.ask(self.growing.stored_revision)
                    self.growing.tell()
                    self.status(self._where(client))
            finally:
                watch.close()

    def _take(self, told: etcd.Told) -> None:
        for change in told.changes:
            if change.revision <= self.growing.revision:
                continue  # a member that is behind tells what is known
            if change.revision != self.growing.revision + 1:
                raise Refused(
                    f"etcd went from revision {self.growing.revision} to {change.revision}; its watch lost some"
                )
            self.growing.add(change.revision, change.events)
        if told.asked and told.revision >= self.growing.revision:
            self.growing.alive(told.asked)

    def _store(self, client: etcd.MemberClient) -> None:
        """Close the segment, with the terms of its leases as far as they are known still."""
        pending = self.growing.pending
        seen = {lease for each in pending for lease in client.leases_of(each.events)} - self._known
        try:
            self.growing.learn({lease: client.granted(lease) for lease in sorted(seen)})
            self._known |= seen
        finally:
            self.growing.close()

    def _where(self, client: etcd.MemberClient) -> Where:
        growing = self.growing
        lag = max(0.0, time.time() - growing.until / 1000)
        return Where(client.node, growing.revision, growing.stored_revision, lag, growing.bytes, growing.number)
