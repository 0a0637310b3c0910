"""Leaves that nodes renew by themselves: what health says of it, what is told in use, and times in DER."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cpkit.facts.host import Renewals
from cpkit.facts.snapshot import Snapshot
from cpkit.health import Finding, judge
from cpkit.renewing import der, use
from cpkit.renewing.record import HELP, samples
from tests.unit.cases import cases
from tests.unit.health_snapshots import captured

AT = 1_790_000_000.0
WELL = Renewals("daily UTC", "active", AT, "idle", ends=AT + 9e6)


def having(**nodes: Renewals | str | None) -> Snapshot:
    """A healthy cluster whose nodes have these timers, or a reason why that is not known."""
    snapshot = captured("healthy")
    found = dict(snapshot.nodes)
    for name, each in nodes.items():
        host = found[name].host
        assert host
        told = {"missing": {"renewal": each}} if isinstance(each, str) else {"renewal": each}
        found[name] = replace(found[name], host=replace(host, **told))
    return replace(snapshot, nodes=found)


def findings(**nodes: Renewals | str | None) -> tuple[Finding, ...]:
    return judge(having(**nodes), ["certs.renewal"])


def test_without_timers_all_is_well_and_the_way_to_have_them_is_told() -> None:
    (found,) = findings()
    assert found.level == "ok"
    assert "cpkit rotate-certs schedule" in found.text


def test_it_is_told_when_they_looked_and_who_renewed_last() -> None:
    cp2 = replace(WELL, outcome="renewed", renewed=("apiserver", "scheduler"), renewed_at=AT)
    (found,) = findings(cp1=WELL, cp2=cp2, cp3=replace(WELL, at=AT + 60))
    assert found.level == "ok"
    assert found.text.startswith("cp1, cp2 and cp3 renew")
    assert "cp2 renewed 2 2026-09-21 14:13 UTC" in found.text


@pytest.mark.parametrize(
    ("cp3", "level", "words"),
    [
        (None, "warn", "does not renew its leaves by itself"),
        ("timed out", "unknown", "timed out"),
        (replace(WELL, timer="failed"), "warn", "timer of renewals is failed"),
        (replace(WELL, outcome="failed", error="no quorum", hint="Look."), "warn", "no quorum"),
    ],
)
def test_what_is_wrong_on_one_node_is_told_of_that_node(cp3: Renewals | str | None, level: str, words: str) -> None:
    found = [each for each in findings(cp1=WELL, cp2=WELL, cp3=cp3) if each.level != "ok"]
    assert [(each.level, each.node, words in each.text) for each in found] == [(level, "cp3", True)]
    assert found[0].hint


def test_metrics_tell_only_what_is_known() -> None:
    assert samples(0.0, "waiting", 0.0, 0, 0.0) == []
    told = samples(AT, "failed", AT + 5, 2, AT)
    assert {name for name, _, _ in told} == set(HELP)
    assert ("cpkit_renewal_last_run_success", {}, 0.0) in told


def test_only_what_is_shown_and_accepted_everywhere_is_in_use() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n"
    mine = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of abc
    well: dict[str, dict[str, Any]] = {
        "served": {"6443": pem},
        "clients": {"scheduler": {"status": 200}},
        "probes": {"readyz": {"status": 200}},
    }
    assert use.judge({"6443": ("apiserver", mine)}, well, {}) == []
    assert "not what is served on port 6443" in use.judge({"6443": ("apiserver", "other")}, well, {})[0]
    assert "timed out" in use.judge({"6443": ("apiserver", mine)}, well, {"served:2380": "timed out"})[0]
    for kind in ("clients", "probes"):
        for probe, why in (({"status": 401}, "HTTP 401"), ({"error": "refused"}, "refused")):
            told = use.judge({"6443": ("apiserver", mine)}, {**well, kind: {"scheduler": probe}}, {})
            assert len(told) == 1
            assert why in told[0]


@cases("year", [1999, 2026, 2049, 2050, 2061])
def test_times_are_written_as_x509_wants_them(year: int) -> None:
    when = datetime(year, 12, 31, 23, 59, 58, tzinfo=UTC).timestamp()
    written = der._time(when)
    assert written[0] == (der.UTC_TIME if year < 2050 else der.TIME)
    assert der._seconds(written) == when


@cases("data", [b"", b"\x30", b"\x30\x05ab", b"\x30\x03abc", b"\x30\x82\xff\xff"])
def test_what_is_no_certificate_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a certificate"):
        der.parse(data)
