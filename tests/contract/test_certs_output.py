"""What `cpkit certs` shows on a terminal, and what it tells programs."""

import json
from io import StringIO

import pytest
from rich.console import Console

from cpkit.health import judge
from cpkit.health.credentials import CHECKS
from cpkit.ui.certs import page
from cpkit.ui.certs_text import as_json, as_prometheus
from tests.unit.health_snapshots import NAMES, captured


def drawn(name: str, width: int, *, wide: bool = False) -> str:
    out = StringIO()
    snapshot = captured(name)
    Console(file=out, width=width).print(page(snapshot, judge(snapshot, CHECKS), width=width, wide=wide))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", NAMES)
def test_the_list_fits_the_terminal_and_cuts_nothing_off(name: str, width: int) -> None:
    text = drawn(name, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


def test_nodes_that_are_alike_share_a_line_and_the_wide_list_has_one_for_each() -> None:
    lines = [line.split() for line in drawn("healthy", 100).splitlines()]
    assert [line[2:5] for line in lines if line[1:2] == ["apiserver"]] == [["cp1", "cp2", "cp3"]]
    wide = drawn("healthy", 200, wide=True)
    assert len([line for line in wide.splitlines() if line.split()[2:3] == ["apiserver"]]) == 3
    assert "CN=kube-apiserver" in wide


def test_programs_get_every_credential_and_metrics_only_of_what_is_known() -> None:
    snapshot = captured("one_off")
    document = json.loads(as_json(snapshot, judge(snapshot, CHECKS)))
    assert document["verdict"] == "unknown"
    assert {"cp1", "cp2", "cp3"} <= {each["node"] for each in document["credentials"]}
    metrics = as_prometheus(snapshot, ())
    assert 'cpkit_certificate_served{cluster="lab",node="cp2",name="apiserver"} 1' in metrics
    assert 'cpkit_certificate_served{cluster="lab",node="cp3"' not in metrics
    assert 'cpkit_certificate_level{cluster="lab",node="cp3",name="everything",fingerprint=""} 3' in metrics
