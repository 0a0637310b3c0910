"""What people and programs are shown."""

import json
import re
from functools import cache

import pytest
from rich.console import Console

from cpkit.health import judge
from cpkit.ui.health import page
from cpkit.ui.health_text import HELP, as_json, as_prometheus
from tests.unit.cases import cases
from tests.unit.health_snapshots import NAMES, captured, silence, spoiled

SAMPLE = re.compile(r'^(cpkit_[a-z0-9_]+)\{cluster="lab"(?:,[a-z]+="(?:[^"\\]|\\.)*")*\} -?[0-9.e+-]+$')


@cache
def drawn(name: str, width: int, *, everything: bool = False) -> str:
    snapshot = captured(name)
    console = Console(width=width, force_terminal=False, highlight=False)
    with console.capture() as capture:
        console.print(page(snapshot, judge(snapshot), width=width, everything=everything))
    return capture.get()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [80, 120])
def test_the_page_names_every_node_and_cuts_nothing_short(name: str, width: int) -> None:
    text = drawn(name, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for node in ("cp1", "cp2", "cp3", "lb1", "lb2"):
        assert re.search(rf"^ +{node} ", text, re.MULTILINE)


def test_the_page_leads_with_the_verdict_and_the_fault_tolerance() -> None:
    assert "● HEALTHY  3 voters, 3 healthy: one more may fail" in drawn("healthy", 120)
    assert "✗ NOT HEALTHY  no quorum: 3 voters" in drawn("two_off", 120)


def test_what_is_well_is_listed_only_when_asked_for() -> None:
    assert "certs.chain" not in drawn("healthy", 120)
    assert "certs.chain" in drawn("healthy", 120, everything=True)


def test_a_silent_node_is_told_once() -> None:
    assert drawn("one_off", 120).count("no answer from 10.203.0.13") == 1


@pytest.mark.parametrize("name", NAMES)
def test_json_has_a_schema_number_and_the_verdict(name: str) -> None:
    snapshot = captured(name)
    document = json.loads(as_json(snapshot, judge(snapshot)))
    assert document["schema"] == 1
    assert document["verdict"] == ("healthy" if name == "healthy" else "not healthy")
    assert set(document) == {"schema", "cluster", "verdict", "taken", "seconds", "etcd", "findings", "snapshot"}
    assert set(document["findings"][0]) == {"check", "node", "level", "text", "hint"}


@cases("name", NAMES)
def test_metrics_are_well_formed_and_each_is_explained(name: str) -> None:
    snapshot = captured(name)
    lines = as_prometheus(snapshot, judge(snapshot)).splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert [line for line in samples if not SAMPLE.match(line)] == []
    assert len({line.rsplit(" ", 1)[0] for line in samples}) == len(samples)
    assert {line.split()[2] for line in lines if line.startswith("# TYPE")} <= set(HELP)


def test_what_is_unknown_is_absent_from_the_metrics() -> None:
    snapshot = spoiled(silence("cp3"))
    metrics = as_prometheus(snapshot, judge(snapshot))
    assert 'cpkit_api_ready{cluster="lab",node="cp2"} 1' in metrics
    assert 'cpkit_api_ready{cluster="lab",node="cp3"}' not in metrics
    assert 'cpkit_check_level{cluster="lab",check="node.reachable",node="cp3"} 3' in metrics
    assert 'cpkit_healthy{cluster="lab"} 0' in metrics
