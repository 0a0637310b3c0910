"""etcd's membership: who votes, who leads, and whether the cluster can lose a node."""

from collections.abc import Iterator

from cpkit.facts.snapshot import MemberRow, MemberStatus, Snapshot
from cpkit.health.change import even
from cpkit.health.check import Asked, Verdict, check, commonest, fail, member_check, ok, unknown, warn
from cpkit.health.quorum import Member, Membership, State, join

CATCH_UP = 1000  # log entries; more behind than this is not caught up
NOTABLE_LAG = 100


def membership(snapshot: Snapshot) -> Membership:
    """The members as the arithmetic of quorum wants them; a stranger or an unstarted member is a silent voter."""
    rows = snapshot.etcd.members
    if not rows:
        states = {name: snapshot.etcd.statuses.get(name) for name in snapshot.plan.control_plane}
        return Membership(tuple(Member(name, _state(status)) for name, status in states.items()), leader(snapshot))
    return Membership(tuple(_member(snapshot, row) for row in rows), leader(snapshot))


def leader(snapshot: Snapshot) -> str:
    """The node that most members call leader; "" when none does."""
    votes = [status.leader for status in snapshot.etcd.statuses.values() if status.leader]
    if not votes:
        return ""
    chosen = commonest(votes)
    by_id = (name for name, status in snapshot.etcd.statuses.items() if status.id == chosen)
    by_row = (snapshot.member_node(row) or row.name for row in snapshot.etcd.members if row.id == chosen)
    return next(by_id, "") or next(by_row, "")


def _member(snapshot: Snapshot, row: MemberRow) -> Member:
    node = snapshot.member_node(row)
    name = node or row.name or f"unstarted member {row.id}"
    if row.learner:
        return Member(name, State.LEARNER)
    return Member(name, _state(snapshot.etcd.statuses.get(node)))


def _state(status: MemberStatus | None) -> State:
    if status is None or status.error:
        return State.SILENT
    if status.learner:
        return State.LEARNER
    return State.HEALTHY if status.leader and not status.linearizable else State.SICK


@check("etcd.quorum", gate=("before", "after"))
def quorum(snapshot: Snapshot) -> Iterator[Verdict]:
    """A majority of all voters is healthy."""
    members = membership(snapshot)
    asked = [status for status in snapshot.etcd.statuses.values() if not status.error]
    if members.has_quorum:
        full = len(members.healthy) == len(members.voters)
        hint = "Bring the missing members back before anything else is touched."
        yield ok(members.words()) if full else warn(members.words(), hint)
    elif not asked:
        yield unknown("no etcd member could be asked", "Bring the nodes back, or look at the reasons below.")
    elif any(not status.linearizable for status in asked):
        text = f"etcd takes writes, but only {len(members.healthy)} of {len(members.voters)} voters could be asked"
        yield unknown(text, "Make the other nodes reachable; until then none may be taken down.")
    else:
        silent = [member.name for member in members.voters if member.state is State.SILENT]
        start = f"Start etcd on {join(silent)}" if silent else "Let the members reach each other on port 2380"
        yield fail(members.words(), f"{start}: without a majority etcd takes no writes. Wipe no member to get there.")


@check("etcd.members", gate=("before", "after"))
def members(snapshot: Snapshot) -> Iterator[Verdict]:
    """Every control-plane node is a started, voting member, and nobody else is."""
    rows = {snapshot.member_node(row): row for row in snapshot.etcd.members}
    for name in snapshot.plan.control_plane:
        yield _judge_member(snapshot, name, rows.get(name))
    for row in snapshot.etcd.members:
        if not snapshot.member_node(row):
            text = f"{row.name or 'an unstarted member'} ({row.id}) is a member and not in the inventory"
            yield fail(text, f"Remove it if it is gone for good: cpkit node remove {row.name or row.id}")
    if len(snapshot.plan.control_plane) > 1 and (warning := even(len(membership(snapshot).voters))):
        yield warn(warning, "See: cpkit node add --help, cpkit node remove --help")


def _judge_member(snapshot: Snapshot, name: str, row: MemberRow | None) -> Verdict:
    status = snapshot.etcd.statuses.get(name, MemberStatus(error="not asked"))
    if snapshot.etcd.members and row is None:
        return fail("not a member of the etcd cluster", f"Let it join: cpkit node add {name}", node=name)
    if row is not None and not row.name:
        hint = f"Finish what announced it: cpkit node add {name}"
        return fail("added to the cluster, but never started", hint, node=name)
    if status.error:
        return _silent(snapshot, name, status.error)
    if status.learner or (row is not None and row.learner):
        return warn("a learner: it follows and has no vote yet", "Promote it when it has caught up.", node=name)
    if not status.leader or status.linearizable:
        why = (
            "it knows of no leader" if not status.leader else f"a read through the leader failed: {status.linearizable}"
        )
        return fail(why, "Look at the other members first; this one waits for a majority.", node=name)
    return ok(f"voter, {'leader' if leader(snapshot) == name else 'follower'}", node=name)


def _silent(snapshot: Snapshot, name: str, why: str) -> Verdict:
    """Tell a member that is down from one only we cannot ask: its peers' view decides."""
    dials = [
        node.host.peers[f"{name}:2380"]
        for node in snapshot.control_plane.values()
        if node.host and f"{name}:2380" in node.host.peers
    ]
    host = snapshot.nodes[name].host
    hint = f"On {name}: systemctl status etcd, journalctl -u etcd"
    if host and "etcd" in host.units and not host.units["etcd"].running:
        return fail(f"etcd is {host.units['etcd'].state}", hint, node=name)
    if host or (dials and all(dials)):
        return fail(f"does not answer: {why}" if host else "does not answer its peers", hint, node=name)
    return unknown(f"could not be asked: {why}", snapshot.nodes[name].hint or hint, node=name)


@check("etcd.leader", gate=("before", "after"))
def one_leader(snapshot: Snapshot) -> Iterator[Verdict]:
    """All members name the same leader."""
    chosen = leader(snapshot)
    views = {name: status.leader for name, status in snapshot.etcd.statuses.items() if not status.error}
    if not views:
        yield unknown("no member could be asked who leads", "Bring the nodes back, or look at the reasons below.")
        return
    if not chosen:
        yield fail("no member knows of a leader", "A majority of voters must be able to reach each other on port 2380.")
        return
    most = commonest(views.values())
    for name, view in views.items():
        if view != most:
            text = f"names {view or 'nobody'} as leader, the others name {chosen}"
            yield fail(text, f"Check that {name} reaches the other nodes on port 2380.", node=name)
    yield ok(f"{chosen} leads")


@check("etcd.term", gate=("before", "after"))
def steady_term(snapshot: Snapshot) -> Iterator[Verdict]:
    """The raft term is the same on all members and did not move between two readings."""
    terms = {term for status in snapshot.etcd.statuses.values() for term in status.terms}
    if not terms:
        yield unknown("no member told its term", "Bring the nodes back, or look at the reasons below.")
    elif len(terms) > 1:
        text = f"the term moved between {min(terms)} and {max(terms)}: an election is going on"
        yield warn(text, "If it goes on: look at disk latency (node.fsync) and the network between the nodes.")
    else:
        yield ok(f"term {terms.pop()}, steady")


@member_check("etcd.lag", gate=("before", "after"))
def lag(member: Asked) -> Iterator[Verdict]:
    """Every member has applied what the cluster has committed."""
    top = max(status.index for status in member.snapshot.etcd.statuses.values())
    behind = max(0, top - member.status.applied)
    hint = f"It should catch up by itself; if not, look at the disk and network of {member.name}."
    if behind > CATCH_UP:
        yield fail(f"{behind} log entries behind", hint)
    elif behind > NOTABLE_LAG:
        yield warn(f"{behind} log entries behind", hint)
    else:
        yield ok("caught up")
