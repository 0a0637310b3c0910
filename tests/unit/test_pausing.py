"""Between two nodes: pauses that the user wants, and the end of a budget of failed requests."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from cpkit.cli.upgrade_view import pausing
from cpkit.errors import Interrupted, Refused, UsageError
from cpkit.operations.pausing import Between, Pausing

TURNS = ("Upgrade etcd on cp1", "Upgrade etcd on cp2", "Upgrade kube-apiserver on cp2")


@dataclass
class World:
    failed: int = 0
    said: list[str] = field(default_factory=list)
    made: list[tuple[str, bool]] = field(default_factory=list)  # (step, whether there was a pause before)

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def step(self, _name: str) -> Iterator[None]:
        yield

    def run(self, wanted: Pausing) -> None:
        between = Between(wanted, self, self, self.step)  # type: ignore[arg-type]
        for name in TURNS:
            with between(name):
                self.made.append((name, between.waited))
                self.failed += 1


def test_without_a_wish_nothing_is_waited_for() -> None:
    world = World()
    world.run(Pausing())
    assert world.made == [(name, False) for name in TURNS]


def test_a_pause_lies_between_two_nodes_and_not_between_two_turns_of_one() -> None:
    world = World()
    world.run(Pausing(0.01))
    assert [waited for _, waited in world.made] == [False, True, False]
    assert world.said == ["cp1 is done; cp2 follows in 0.01 s"]


@pytest.mark.parametrize(("answer", "made"), [("y\n", 3), ("yes\n", 3), ("n\n", 1), ("\n", 1), ("", 1)])
def test_who_is_asked_decides(monkeypatch: pytest.MonkeyPatch, answer: str, made: int) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    world = World()
    with suppress(Interrupted):
        world.run(Pausing(0.0))
    assert len(world.made) == made


@pytest.mark.parametrize(("budget", "made"), [(0, 1), (1, 2), (2, 3)])
def test_no_further_node_is_touched_once_the_budget_is_spent(budget: int, made: int) -> None:
    world = World()
    with suppress(Refused):
        world.run(Pausing(max_failed=budget))
    assert len(world.made) == made


@pytest.mark.parametrize(("given", "seconds"), [("", None), ("30", 30.0), ("0.5", 0.5)])
def test_a_pause_is_given_in_seconds(given: str, seconds: float | None) -> None:
    assert pausing(given, 3) == Pausing(seconds, 3)


@pytest.mark.parametrize("given", ["0", "-1", "soon", "inf", "nan", "ask"])  # nobody is there to be asked in a test
def test_what_is_no_pause_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UsageError):
        pausing(given, None)
