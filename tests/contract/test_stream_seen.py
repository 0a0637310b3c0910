"""What health says of a stream, by its last word in the store."""

import socket
from dataclasses import replace
from pathlib import Path

from cpkit.backup import chain, open_store
from cpkit.backup.chain import State
from cpkit.facts.snapshot import Stream
from cpkit.health import judge
from cpkit.inventory import load
from cpkit.operations.stream_seen import last_word, looking
from cpkit.ui.health_text import as_prometheus
from tests.unit.cases import cases
from tests.unit.health_snapshots import captured

NEWER, OLDER = "lab-20310507T070809Z-r900", "lab-20310506T070809Z-r400"
LAB = load(Path(__file__).parents[2] / "inventories" / "lab").spec


def state(until: float, revision: int = 905, *, ended: bool = False) -> State:
    return State("me@here", "token", 3, revision, int(until * 1000), "a" * 64, ended)


def levels(stream: Stream | None) -> list[tuple[str, str]]:
    found = judge(replace(captured("healthy"), stream=stream), ["backup.stream"])
    return [(each.level, each.text) for each in found]


@cases(
    ("silence", "ended", "level", "said"),
    [
        (-5, False, "ok", "0 s behind"),
        (2, False, "ok", "follows etcd into the store to revision 905"),
        (15, False, "ok", "15 s behind"),
        (16, False, "warn", "nobody follows etcd into the store any more: me@here did"),
        (90_000, False, "warn", "until"),
        (90_000, True, "ok", "was ended by me@here"),
    ],
)
def test_a_stream_that_was_cut_off_is_told_and_one_that_was_ended_is_well(
    silence: float, ended: bool, level: str, said: str
) -> None:
    until = captured("healthy").taken - silence
    ((found, text),) = levels(Stream(NEWER, "me@here", 905, until, ended))
    assert (found, said in text) == (level, True), text


def test_without_a_stream_there_is_nothing_to_say_and_an_unknown_one_does_not_block() -> None:
    assert [level for level, _ in levels(None)] == ["ok"]
    assert levels(Stream(error="refused")) == [
        ("warn", "whether anybody follows etcd into the store is not known: refused")
    ]


def test_prometheus_is_told_of_the_lag() -> None:
    snapshot = captured("healthy")
    told = as_prometheus(replace(snapshot, stream=Stream(NEWER, "me@here", 905, snapshot.taken - 2.5)), ())
    labels = f'{{cluster="{snapshot.plan.cluster}",backup="{NEWER}",owner="me@here"}}'
    assert f"cpkit_stream_lag_seconds{labels} 2.5\n" in told
    assert f"cpkit_stream_revision{labels} 905\n" in told
    assert f"cpkit_stream_ended{labels} 0\n" in told
    for unknown in (None, Stream(error="refused")):
        assert "cpkit_stream_" not in as_prometheus(replace(snapshot, stream=unknown), ())


def test_the_newest_stream_of_the_cluster_is_the_one_that_counts(tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as store:
        assert last_word(store, "lab") is None
        chain.write_state(store, OLDER, state(11.5, 500))
        chain.write_state(store, NEWER.replace("lab", "other"), state(13.5))
        assert last_word(store, "lab") == Stream(OLDER, "me@here", 500, 11.5)
        chain.write_state(store, NEWER, state(12.5, ended=True))
        assert last_word(store, "lab") == Stream(NEWER, "me@here", 905, 12.5, ended=True)


def test_a_store_that_cannot_be_asked_is_told_and_waited_for_no_longer_than_allowed(tmp_path: Path) -> None:
    assert looking(LAB, 5)() is None
    chain_file = tmp_path / f"{NEWER}.stream"
    chain_file.write_text("{}")
    spoilt = looking(LAB.model_copy(update={"backup_store": str(tmp_path)}), 5)()
    assert spoilt
    assert "cannot be read" in spoilt.error
    with socket.create_server(("127.0.0.1", 0)) as mute:  # nobody takes what knocks there
        place = f"sftp://nobody@127.0.0.1:{mute.getsockname()[1]}/srv"
        silent = looking(LAB.model_copy(update={"backup_store": place}), 0.1)()
    assert silent == Stream(error="the store did not answer within 0.1 s")
