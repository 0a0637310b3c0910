"""What is decided about scheduled backups without asking anybody: when they are due, by whom, and whether they are."""

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cpkit.backup.manifest import Verification
from cpkit.backup.manifest_json import plain_sidecar, read_sidecar, to_json
from cpkit.backup.node.program import taken
from cpkit.backup.node.record import Record, Status, exposition, read_record
from cpkit.backup.node.settings import Settings
from cpkit.backup.node.signing import Credentials
from cpkit.backup.schedule import credentials, refuse_unusable
from cpkit.errors import UsageError
from cpkit.facts.snapshot import Snapshot
from cpkit.health import judge
from cpkit.node.calendar import slot, zoned
from cpkit.ui.health_text import as_prometheus
from tests.unit.cases import cases
from tests.unit.health_snapshots import Raw, Spoil, captured, host, silence, spoiled
from tests.unit.sidecars import sidecar

NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
RECORD = Record(1000.0, "prod-20310506T070809Z-r7", "cp1", 1010.0, 3.5, 4096, 7, "/srv", "abc")


def every(seconds: int, begun: datetime = datetime(2031, 1, 1, tzinfo=UTC)) -> Callable[..., list[datetime]]:
    """A calendar that means every so many seconds since a moment."""

    def ask(_: str, after: datetime, count: int) -> list[datetime]:
        done = max(0, int((after - begun).total_seconds() // seconds) + 1) if after >= begun else 0
        return [begun + timedelta(seconds=seconds * (done + each)) for each in range(count)]

    return ask


@cases("seconds", [1, 7, 60, 3600, 86400, 90 * 86400])
@cases("late", [0, 1, 59, 4000, 10_000_000])
def test_the_slot_is_the_last_time_that_was_named(seconds: int, late: int) -> None:
    now = NOW + timedelta(seconds=late)
    found = slot("x", now, every(seconds))
    assert found.due <= now < found.due + timedelta(seconds=seconds)
    assert found.following == found.due + timedelta(seconds=seconds)
    assert found.period == seconds


def test_a_calendar_that_is_over_has_a_last_slot_and_no_next() -> None:
    once = NOW - timedelta(days=40)
    found = slot("x", NOW, lambda _, after, __: [once] if after < once else [])
    assert (found.due, found.following, found.period) == (once, None, 0.0)
    with pytest.raises(UsageError, match="has named no time yet"):
        slot("x", NOW, lambda *_: [NOW + timedelta(days=1)])


@cases(
    ("text", "meant"),
    [
        ("hourly", "hourly UTC"),
        (" Mon..Fri   22:00 ", "Mon..Fri 22:00 UTC"),
        ("*:0/15", "*:0/15 UTC"),
        ("*-*-01 04:00 Europe/Berlin", "*-*-01 04:00 Europe/Berlin"),
        ("daily UTC", "daily UTC"),
        ("02:00 Etc/GMT+5", "02:00 Etc/GMT+5"),
    ],
)
def test_a_time_means_the_same_on_every_node(text: str, meant: str) -> None:
    assert zoned(text) == meant
    assert zoned(meant) == meant


@cases(
    ("record", "location", "due", "said"),
    [
        (None, "/srv", 1000.0, False),
        (RECORD, "/srv", 1000.0, True),
        (RECORD, "/srv", 999.0, True),
        (RECORD, "/srv", 1001.0, False),
        (RECORD, "/other", 1000.0, False),
    ],
)
def test_a_slot_is_taken_once_in_a_store(record: Record | None, location: str, due: float, said: bool) -> None:
    assert taken(record, location, due) is said


@cases("data", [None, b"", b"{}", b"no json", b'{"slot": 1}', b"[1]"])
def test_a_record_that_cannot_be_read_is_none(data: bytes | None) -> None:
    assert read_record(data) is None


@pytest.mark.parametrize(
    ("store", "recipients", "words"),
    [
        ("", ["age1x"], "nothing says where"),
        ("s3://backups/prod", ["age1x"], "they have no credentials"),
        ("~/backups", ["age1x"], "absolute path"),
        ("/mnt/backups", [], "whom to seal it for"),
    ],
)
def test_what_nodes_cannot_do_alone_is_refused(store: str, recipients: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        refuse_unusable(store, recipients)


def test_what_nodes_can_do_alone_is_not() -> None:
    for store in ("/mnt/backups", "file:///mnt/backups", "sftp://a@b/c"):
        refuse_unusable(store, ["age1x"])


def test_nodes_read_the_sidecars_that_cpkit_reads() -> None:
    proofs = (Verification(NOW, "stored", "a"), Verification(NOW, "read", "b"))
    listed = sidecar(NOW, 7, encryption="recipients", keys=None, recipients=("age1x", "age1y"), verified=proofs)
    data = to_json(listed)
    assert plain_sidecar(data, listed.name) == read_sidecar(data, listed.name) == listed


def backups(**changes: Any) -> Spoil:
    """A schedule on all three nodes; a change may be for one node: cp1={…}."""
    single = {name: changes.pop(name) for name in ("cp1", "cp2", "cp3") if name in changes}

    def spoil(raw: Raw) -> None:
        at = raw["taken"]
        last = {"name": "x", "node": "cp2", "at": at - 100, "seconds": 2.0, "size": 5_000_000, "revision": 9}
        for name in ("cp1", "cp2", "cp3"):
            known = {"calendar": "hourly UTC", "store": "/mnt", "jitter": 60, "digest": "d", "timer": "active"}
            known |= {"at": at - 90, "next": at + 3500, "period": 3600.0, "outcome": "seen", "record": last}
            known |= {"verified": {"stored": at - 99}} | changes
            gone = name in single and single[name] is None
            host(raw, name)["backup"] = None if gone else known | (single.get(name) or {})

    return spoil


def levels(snapshot: Snapshot) -> list[tuple[str, str]]:
    return [(each.node, each.level) for each in judge(snapshot, ["backup.schedule"])]


def test_without_a_schedule_there_is_nothing_to_look_at() -> None:
    assert levels(captured("healthy")) == [("", "ok")]
    assert levels(spoiled(*(silence(node) for node in ("cp1", "cp2", "cp3")))) == [("", "unknown")]


@cases(
    ("changes", "expected"),
    [
        ({}, [("", "ok")]),
        ({"cp3": None}, [("cp3", "warn"), ("", "ok")]),
        ({"cp3": {"timer": "inactive"}}, [("cp3", "warn"), ("", "ok")]),
        ({"cp3": {"digest": "other"}}, [("cp3", "warn"), ("", "ok")]),
        ({"cp3": {"outcome": "failed", "error": "e", "hint": "h", "next": 1.0}}, [("cp3", "warn"), ("", "ok")]),
        ({"record": None, "outcome": "waiting"}, [("", "ok")]),
        ({"next": 0.0}, [("", "ok")]),
    ],
)
def test_a_node_that_lags_behind_is_named(changes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert levels(spoiled(backups(**changes))) == expected


@cases(("late", "level"), [(-1, "ok"), (659, "ok"), (661, "warn"), (661 + 3590, "warn"), (661 + 3600, "fail")])
def test_a_backup_that_is_overdue_warns_first_and_fails_after_the_next(late: float, level: str) -> None:
    due = captured("healthy").taken - late
    assert levels(spoiled(backups(next=due))) == [("", level)]


def test_what_could_not_be_read_is_unknown() -> None:
    def spoil(raw: Raw) -> None:
        host(raw, "cp1")["missing"]["backup"] = "no answer within 3 s"
        host(raw, "cp1")["backup"] = None

    assert ("cp1", "unknown") in levels(spoiled(backups(), spoil))


def test_prometheus_is_told_the_same_by_health_and_by_the_node() -> None:
    snapshot = spoiled(backups())
    told = as_prometheus(snapshot, ())
    cluster = snapshot.plan.cluster
    assert f'cpkit_backup_last_size_bytes{{cluster="{cluster}",node="cp3"}} 5000000\n' in told
    assert f'cpkit_backup_verified_timestamp_seconds{{cluster="{cluster}",node="cp1",proof="stored"}}' in told
    known = {each.name: None for each in fields(Settings)} | {"cluster": "prod", "node": "cp1"}
    settings = Settings(**known)  # type: ignore[arg-type]
    status = Status(2000.0, 1000.0, 4600.0, 3600.0, "taken", record=RECORD, verified={"stored": 1009.0})
    assert 'cpkit_backup_last_run_success{cluster="prod",node="cp1"} 1' in exposition(settings, status)
    assert exposition(settings, Status(1.0, 1.0)) == ""


KEYS = "aws_access_key_id = A\naws_secret_access_key = s%cret\n"


@pytest.mark.parametrize(
    ("text", "location", "words"),
    [
        (f"[default]\n{KEYS}", "s3://b/x", ""),
        (f"[default]\n[two]\n{KEYS}", "s3://b/x?profile=two", ""),
        (f"[default]\n{KEYS}", "s3://b/x?profile=two", "holds no [two] with"),
        ("[default]\naws_access_key_id = A\n", "s3://b/x", "holds no [default] with"),
        (KEYS, "s3://b/x", "holds no [default] with"),
        (f"[default]\n{KEYS}aws_session_token = t\n", "s3://b/x", "they have a session token"),
        (None, "s3://b/x", "No such file"),
    ],
)
def test_credentials_for_nodes_are_read_as_aws_clients_do(
    tmp_path: Path, text: str | None, location: str, words: str
) -> None:
    path = tmp_path / "credentials"
    if text is not None:
        path.write_text(text)
    if not words:
        assert credentials(location, str(path)) == Credentials("A", "s%cret")
        refuse_unusable(location, ["age1x"], str(path))
        return
    with pytest.raises(UsageError) as caught:
        refuse_unusable(location, ["age1x"], str(path))
    assert words in caught.value.message
    assert "s%cret" not in f"{caught.value}{caught.value.hint}"
