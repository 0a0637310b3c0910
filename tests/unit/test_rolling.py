"""The rolling engine on clusters of three and five: order, gates, failures, and every way a run can be cut off."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from itertools import combinations

import pytest

from cpkit.errors import CpkitError, Exit, Interrupted, Refused, Unreachable
from cpkit.facts.snapshot import MemberStatus, NodeFacts, Snapshot
from cpkit.health.upkeep import successor
from cpkit.rolling import Engine, Halt, Pass, Turn, halting, todo
from tests.unit.health_snapshots import Raw, spoiled

MARK = "/etc/mark"
Hook = Callable[[Turn], None]


def five(raw: Raw) -> None:
    """Two more nodes, made of the third."""
    nodes, etcd, plan = raw["nodes"], raw["etcd"], raw["plan"]
    for number in (4, 5):
        name, address, member = f"cp{number}", f"10.203.0.{10 + number}", f"{number:x}" * 8
        plan["control_plane"][name] = address
        host = {**nodes["cp3"]["host"], "peers": {}}
        nodes[name] = {**nodes["cp3"], "name": name, "address": address, "host": host}
        sans = [address, "127.0.0.1", *plan["extra_sans"], plan["endpoint_host"], plan["service_address"]]
        nodes[name]["certificates"] = [{**each, "sans": sans} for each in nodes["cp3"]["certificates"]]
        etcd["members"].append({"id": member, "name": name, "peer_urls": [f"https://{address}:2380"]})
        etcd["statuses"][name] = {**etcd["statuses"]["cp3"], "id": member}
        for balancer in ("lb1", "lb2"):
            servers = nodes[balancer]["host"]["servers"]
            servers[name] = servers["cp3"]


BASE = {3: spoiled(), 5: spoiled(five)}
NODES = {size: tuple(BASE[size].control_plane) for size in BASE}


@cache
def looking(size: int, name: str, mark: int, *, sick: bool) -> NodeFacts:
    """A node that has come so far, and is well or not."""
    facts = BASE[size].nodes[name]
    assert facts.host is not None
    files = {**facts.host.files, MARK: str(mark)}
    probes = {**facts.host.probes, "readyz": replace(facts.host.probes["readyz"], status=500 if sick else 200)}
    return replace(facts, host=replace(facts.host, files=files, probes=probes))


@cache
def following(size: int, name: str, leads: str) -> MemberStatus:
    """A member that follows another."""
    statuses = BASE[size].etcd.statuses
    return replace(statuses[name], leader=statuses[leads].id)


@cache
def seen(size: int, leads: str, marks: tuple[int, ...], silent: frozenset[str], sick: frozenset[str]) -> Snapshot:
    """A cluster in a certain state."""
    base = BASE[size]
    nodes, statuses = dict(base.nodes), dict(base.etcd.statuses)
    for name, mark in zip(base.control_plane, marks, strict=True):
        nodes[name] = looking(size, name, mark, sick=name in sick)
        statuses[name] = following(size, name, leads)
        if name in silent:
            nodes[name] = replace(nodes[name], host=None, certificates=(), error="it is silent", hint="Look.")
            statuses[name] = MemberStatus(error="it is silent")
    return replace(base, nodes=nodes, etcd=replace(base.etcd, statuses=statuses))


class World:
    """A cluster whose nodes can be marked, silenced and made sick; a play marks a node."""

    def __init__(self, size: int = 3, *, leads: str = "cp2", marked: tuple[str, ...] = ()) -> None:
        self.size, self.base, self.leads = size, BASE[size], leads
        self.marks = dict.fromkeys(marked, 1)
        self.silent: set[str] = set()
        self.sick: set[str] = set()
        self.played: list[str] = []
        self.stepped_down: list[tuple[str, str]] = []
        self.on_play: Hook = lambda _: None
        self.patience = 0.02  # seconds; long only where the wait is to end well

    def probe(self) -> Snapshot:
        marks = tuple(self.marks.get(name, 0) for name in self.base.control_plane)
        return seen(self.size, self.leads, marks, frozenset(self.silent), frozenset(self.sick))

    def play(self, turn: Turn) -> None:
        self.played.append(turn.node)
        assert turn.node not in self.silent
        self.marks[turn.node] = int(turn.step.variables["mark"])
        self.on_play(turn)

    def step_down(self, snapshot: Snapshot, node: str) -> None:
        assert node == self.leads
        self.leads = successor(snapshot, node)
        self.stepped_down.append((node, self.leads))

    def run(self, *passes: Pass, halt: Halt | None = None, allow_degraded: bool = False) -> tuple[Turn, ...]:
        @contextmanager
        def step(_name: str) -> Iterator[None]:
            yield

        engine = Engine(
            self.probe,
            self.play,
            step,
            halt or Halt(),
            allow_degraded,
            self.step_down,
            gate_wait=self.patience,
            back_wait=self.patience,
            pause=0.01,
        )
        return engine.run(passes or (mark(1),))


def mark(level: int, *, stops_etcd: bool = False) -> Pass:
    """A pass that is done where the mark is that high."""

    def done(snapshot: Snapshot, node: str) -> bool:
        host = snapshot.nodes[node].host
        assert host is not None, "only nodes that answered are asked about"
        return int(host.files[MARK]) >= level

    return Pass(f"Mark {level}", "mark.yml", done, {"mark": str(level)}, stops_etcd=stops_etcd)


def subsets(nodes: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for count in range(len(nodes) + 1):
        yield from combinations(nodes, count)


@pytest.mark.parametrize("size", [3, 5])
def test_whatever_an_earlier_run_left_the_next_does_the_rest_leader_last(size: int) -> None:
    for leads in NODES[size]:
        for marked in subsets(NODES[size]):
            world = World(size, leads=leads, marked=marked)
            world.run()
            left = [name for name in NODES[size] if name not in marked]
            assert world.played == sorted(left, key=lambda name, leads=leads: name == leads)  # type: ignore[misc]
            assert set(world.marks) == set(NODES[size])


@pytest.mark.parametrize("size", [3, 5])
def test_a_run_killed_in_any_turn_is_taken_up_and_no_node_is_done_twice(size: int) -> None:
    for count in range(size):
        for changed in (True, False):
            world = World(size)

            def kill(turn: Turn, world: World = world, count: int = count, changed: bool = changed) -> None:
                if len(world.played) == count + 1:
                    if not changed:
                        del world.marks[turn.node]
                    raise KeyboardInterrupt

            world.on_play = kill
            with pytest.raises(KeyboardInterrupt):
                world.run()
            assert len(world.marks) == count + changed
            world.on_play = lambda _: None
            world.run()
            assert set(world.marks) == set(NODES[size])
            assert len(world.played) == size + (not changed)


def test_a_leader_that_moves_is_last_wherever_it_went() -> None:
    world = World(5, leads="cp1")

    def move(turn: Turn) -> None:
        world.leads = {"cp2": "cp3", "cp4": "cp5"}.get(turn.node, world.leads)

    world.on_play = move
    world.run()
    assert world.played == ["cp2", "cp1", "cp4", "cp3", "cp5"]


@pytest.mark.parametrize("size", [3, 5])
def test_a_member_that_leads_hands_leadership_on_before_it_stops_and_once_a_pass(size: int) -> None:
    for leads in NODES[size]:
        world = World(size, leads=leads)
        seen: list[str] = []

        def note(_turn: Turn, world: World = world, seen: list[str] = seen) -> None:
            seen.append(world.leads)

        world.on_play = note
        world.run(mark(1, stops_etcd=True))
        assert [before for before, _ in world.stepped_down] == [leads]
        assert world.played[-1] == leads
        assert all(node != leader for node, leader in zip(world.played, seen, strict=True))
        world.run(mark(2))
        assert len(world.stepped_down) == 1


def test_passes_are_made_one_after_the_other_on_all_nodes() -> None:
    world = World()
    turns = world.run(mark(1), mark(2))
    assert [(turn.step.name, turn.node) for turn in turns] == [
        (name, node) for name in ("Mark 1", "Mark 2") for node in ("cp1", "cp3", "cp2")
    ]


def test_a_cluster_that_is_done_is_left_alone() -> None:
    world = World(marked=NODES[3])
    assert world.run() == ()
    assert todo(mark(1), world.probe()) == ()


def test_a_play_that_fails_ends_the_run_and_no_other_node_is_touched() -> None:
    world = World()

    def fail(turn: Turn) -> None:
        raise CpkitError("it broke", node=turn.node)

    world.on_play = fail
    with pytest.raises(CpkitError, match="cp1: it broke"):
        world.run()
    assert world.played == ["cp1"]


def test_a_play_that_says_well_but_does_nothing_ends_the_run() -> None:
    world = World()
    world.on_play = lambda _: world.marks.clear()
    with pytest.raises(CpkitError, match=r"Mark 1 on cp1: the node is not back: rolling\.done") as caught:
        world.run()
    assert caught.value.code == Exit.FAILED
    assert world.played == ["cp1"]


def test_a_node_that_does_not_come_back_ends_the_run() -> None:
    world = World()
    world.on_play = lambda turn: world.sick.add(turn.node)
    with pytest.raises(CpkitError, match=r"Mark 1 on cp1: the node is not back: api.ready") as caught:
        world.run()
    assert caught.value.code == Exit.FAILED
    assert world.played == ["cp1"]


def test_a_node_that_falls_silent_ends_the_run_as_unknown() -> None:
    world = World()
    world.on_play = lambda turn: world.silent.add(turn.node)
    with pytest.raises(Unreachable, match="it is silent") as caught:
        world.run()
    assert caught.value.code == Exit.UNKNOWN
    assert world.played == ["cp1"]


def test_a_node_that_needs_a_while_is_waited_for() -> None:
    world = World()
    world.patience = 60
    looks: list[Snapshot] = []

    def probe() -> Snapshot:
        looks.append(World.probe(world))
        world.sick.clear()
        return looks[-1]

    world.on_play = lambda turn: world.sick.add(turn.node)
    world.probe = probe  # type: ignore[method-assign]
    world.run()
    assert world.played == ["cp1", "cp3", "cp2"]
    assert len(looks) == 1 + 2 * 3


def test_a_sick_node_keeps_every_other_from_being_touched() -> None:
    world = World(marked=("cp1",))
    world.sick.add("cp1")
    with pytest.raises(Refused, match=r"cp3 may not be touched now: api.ready: cp1") as caught:
        world.run()
    assert caught.value.code == Exit.REFUSED
    assert world.played == []


def test_a_sick_node_itself_is_taken_in_its_turn() -> None:
    world = World()
    world.sick.add("cp1")
    world.on_play = lambda turn: world.sick.discard(turn.node)
    world.run()
    assert world.played == ["cp1", "cp3", "cp2"]


def test_a_silent_node_keeps_every_other_from_being_touched() -> None:
    world = World(5)
    world.silent.add("cp3")
    with pytest.raises(Unreachable, match="it is silent"):
        world.run()
    assert world.played == []


def test_in_a_degraded_cluster_the_rest_is_done_and_the_silent_node_is_named() -> None:
    world = World(5)
    world.silent.add("cp3")
    with pytest.raises(Unreachable, match="cp3: not known whether it is done") as caught:
        world.run(allow_degraded=True)
    assert caught.value.code == Exit.UNKNOWN
    assert world.played == ["cp1", "cp4", "cp5", "cp2"]


def test_in_a_degraded_cluster_what_was_not_well_before_is_not_held_against_the_change() -> None:
    world = World()
    world.sick.update(NODES[3])
    turns = world.run(allow_degraded=True)
    assert [turn.node for turn in turns] == ["cp1", "cp3", "cp2"]
    assert all("api.ready" in turn.despite for turn in turns)


def test_the_floor_of_quorum_holds_in_a_degraded_cluster_too() -> None:
    world = World()
    world.silent.add("cp3")
    with pytest.raises(Refused, match=r"gate\.floor"):
        world.run(allow_degraded=True)
    assert world.played == []


def test_a_user_who_asks_to_stop_gets_the_node_finished_and_no_other_begun() -> None:
    world, halt = World(), Halt()
    world.on_play = lambda _: setattr(halt, "asked", True)
    with pytest.raises(Interrupted, match="stopped before cp3") as caught:
        world.run(halt=halt)
    assert "cp3, cp2" in caught.value.hint
    assert world.marks == {"cp1": 1}
    world.run()
    assert world.played == ["cp1", "cp3", "cp2"]


def test_the_first_ctrl_c_is_noted_and_the_second_interrupts() -> None:
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt), halting(lambda: told.append("noted")) as halt:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        assert halt.asked
        assert told == ["noted"]
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_node_that_is_not_done_for_a_moment_is_awaited_and_never_touched_twice() -> None:
    world = World()
    world.patience = 5.0
    blinked: list[str] = []

    def blink(turn: Turn) -> None:
        if turn.node == "cp3":
            world.marks["cp1"] = 0  # as a process that is just being started anew
            blinked.append(turn.node)

    probe = world.probe

    def look() -> Snapshot:
        snapshot = probe()
        if blinked and world.marks["cp3"]:
            world.marks["cp1"] = 1  # it is back at the next look
        return snapshot

    world.on_play = blink
    world.probe = look  # type: ignore[method-assign]
    world.run()
    assert world.played == ["cp1", "cp3", "cp2"]


def test_a_node_that_stays_undone_stops_the_run() -> None:
    world = World()

    def undo(turn: Turn) -> None:
        if turn.node == "cp3":
            world.marks["cp1"] = 0

    world.on_play = undo
    with pytest.raises(CpkitError, match="cp1: the node is not back"):
        world.run()
    assert world.played == ["cp1", "cp3"]


def test_a_node_that_is_silent_for_a_moment_is_asked_again() -> None:
    world = World(marked=("cp1", "cp3"))
    world.patience = 5.0
    world.silent = {"cp2"}
    looks: list[Snapshot] = []
    probe = world.probe

    def look() -> Snapshot:
        looks.append(probe())
        if len(looks) == 3:
            world.silent = set()
        return looks[-1]

    world.probe = look  # type: ignore[method-assign]
    world.run()
    assert world.played == ["cp2"]
