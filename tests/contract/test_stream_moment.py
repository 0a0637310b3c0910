"""Which backup and which revision a wish for a moment means, and what a store's names say of a chain."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from cpkit.backup import DamagedBackup, Sidecar, catalogue, open_store
from cpkit.backup import chain as chains
from cpkit.backup.chain import Chain, State, moment
from cpkit.backup.moment import Wish, choose, parse_time, resolve
from cpkit.backup.retention import Policy
from cpkit.backup.segment import Head, Record, Segment, body_of
from cpkit.backup.stores import Item, Store
from cpkit.backup.stores.directory import Directory
from cpkit.cli import backup, restore
from cpkit.errors import Refused, UsageError
from cpkit.operations import backups
from cpkit.operations.restore_moment import wanted
from cpkit.operations.restore_run import Options
from cpkit.operations.restore_under_way import UnderWay, named, restored_name
from tests.unit.cases import cases
from tests.unit.sidecars import sidecar

BEGAN = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
MS = int(BEGAN.timestamp() * 1000)


def base(revision: int = 100, after: int = 0) -> Sidecar:
    return sidecar(BEGAN + timedelta(seconds=after), revision)


def segment(number: int, since: int, until: int, *records: tuple[int, int]) -> Segment:
    """A segment with these (revision, ms after the beginning)."""
    body = body_of([Record(revision, MS + at, b"x") for revision, at in records])
    head = Head(
        base=base().name,
        number=number,
        first=records[0][0],
        last=records[-1][0],
        since=MS + since,
        until=MS + until,
        previous="a" * 64,
        changes=len(records),
        size=len(body),
        sha256="d" * 64,
        leases={},
        hashes=(),
    )
    return Segment(head, body)


FOLLOWED = (
    segment(1, 0, 4000, (101, 1000), (102, 1000), (103, 3000)),
    segment(2, 4000, 9000, (104, 5000)),
    segment(3, 20_000, 25_000, (105, 21_000), (106, 24_000)),  # nobody followed from 9 s to 20 s
)


@cases(
    ("at", "revision", "doubt"),
    [
        (0, 100, False),
        (999, 100, False),
        (1000, 102, False),
        (2999, 102, False),
        (3000, 103, False),
        (8999, 104, False),
        (9000, 104, False),
        (15_000, 104, True),
        (19_999, 104, True),
        (20_500, 104, False),
        (24_000, 106, False),
        (25_000, 106, False),
    ],
)
def test_a_time_means_the_last_revision_received_by_then(at: int, revision: int, doubt: bool) -> None:
    found = resolve(base(), FOLLOWED, Wish(time=moment(MS + at)))
    assert (found.revision, bool(found.doubt)) == (revision, doubt)


@cases("revision", range(100, 107))
def test_a_revision_means_itself(revision: int) -> None:
    assert resolve(base(), FOLLOWED, Wish(revision)).revision == revision


@cases(
    ("records", "last"),
    [([(101, 1), (103, 2)], 103), ([(102, 1)], 102), ([(101, 1), (101, 2)], 101), ([(101, 1)], 102), ([(101, 1)], 100)],
)
def test_a_segment_that_leaves_a_revision_out_is_damaged(records: list[tuple[int, int]], last: int) -> None:
    one = segment(1, 0, 10, *records)
    one = replace(one, head=replace(one.head, first=101, last=last))
    with pytest.raises(DamagedBackup):
        list(one.records())


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_body_that_ends_too_early_is_damaged(cut: int) -> None:
    one = FOLLOWED[0]
    with pytest.raises(DamagedBackup):
        list(replace(one, body=one.body[:-cut]).records())


def followed(sidecar: Sidecar, last: int, until: int) -> Chain:
    state = State("me@here", "t", 0, last, MS + until, "a" * 64)
    item = Item(chains.segment_name(sidecar.name, 1, last, MS + until), 5, BEGAN)
    return Chain(sidecar, (chains.Link(sidecar.name, 1, last, MS + until, item),), state)


@cases(
    ("wish", "chosen"),
    [
        (Wish(100), 100),
        (Wish(150), 100),
        (Wish(200), 200),
        (Wish(201), 200),
        (Wish(300), 200),
        (Wish(400), 400),
        (Wish(time=moment(MS + 1000)), 100),
        (Wish(time=moment(MS + 61_000)), 200),
        (Wish(time=moment(MS + 120_000)), 200),
    ],
)
def test_the_newest_backup_that_reaches_it_is_chosen(wish: Wish, chosen: int) -> None:
    bases = (base(400, 600), base(200, 60), base())
    known = {bases[1].name: followed(bases[1], 300, 120_000), bases[2].name: followed(bases[2], 210, 62_000)}
    assert choose(bases, known, wish).revision == chosen


@cases(
    "wish",
    [Wish(99), Wish(301), Wish(401), Wish(time=moment(MS - 1)), Wish(time=moment(MS + 120_001))],
)
def test_a_moment_that_nothing_reaches_is_refused_with_what_could_be(wish: Wish) -> None:
    bases = (base(400, 600), base(200, 60))
    with pytest.raises(Refused) as caught:
        choose(bases, {bases[1].name: followed(bases[1], 300, 120_000)}, wish)
    assert "revisions 200 to 300" in caught.value.hint


@pytest.mark.parametrize("text", ["yesterday", "2031-05-06T07:08:09", "", "2031-13-06T07:08:09Z"])
def test_a_time_without_a_zone_or_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_time(text)


def test_a_time_is_read_in_its_zone() -> None:
    assert parse_time("2031-05-06T09:08:09+02:00") == parse_time("2031-05-06T07:08:09Z") == BEGAN


def test_a_clock_behind_the_nanosecond_is_said_in_full() -> None:
    assert str(Wish(time=moment(MS + 7))) == "2031-05-06 07:08:09.007 UTC"


def put(store: Store, *names: str, state: State | None = None, sidecar: Sidecar | None = None) -> None:
    sidecar = sidecar or base()
    for name in names:
        store.write(name, b"12345")
    store.write(sidecar.object, b"1234")
    catalogue.write(store, sidecar)
    if state:
        chains.write_state(store, sidecar.name, state)


def names(*links: tuple[int, int, int]) -> list[str]:
    return [chains.segment_name(base().name, number, last, MS + until) for number, last, until in links]


@pytest.mark.parametrize(
    ("links", "told", "broken"),
    [
        ([(1, 105, 1000), (2, 110, 2000)], 2, ""),
        ([], 0, ""),
        ([(2, 110, 2000)], 2, "no segment 1"),
        ([(1, 105, 1000), (3, 110, 2000)], 3, "no segment 2"),
        ([(1, 105, 1000), (1, 106, 1000)], 1, "two segments 1"),
        ([(1, 105, 1000)], 2, "lacks its end"),
        ([(1, 105, 1000), (2, 104, 2000)], 2, "goes back"),
        ([(1, 99, 1000)], 1, "goes back"),
    ],
)
def test_what_a_chain_lacks_is_seen_from_its_names(
    tmp_path: Path, links: list[tuple[int, int, int]], told: int, broken: str
) -> None:
    with open_store(str(tmp_path)) as store:
        put(store, *names(*links), state=State("me@here", "t", told, 110, MS + 2000, "a" * 64))
        found = catalogue.read(store, "prod")
        assert [each.name for each in found.backups] == [base().name]
        assert (found.leftovers, found.broken) == ((), ())
        chain = found.streams[base().name]
        assert broken in chain.broken
        assert bool(broken) == bool(chain.broken)


def test_a_state_that_cannot_be_read_breaks_its_stream_alone(tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as store:
        put(store, *names((1, 105, 1000)))
        store.write(f"{base().name}.stream", b"{}")
        found = catalogue.read(store, "prod")
        assert len(found.backups) == 1
        assert "cannot be read" in found.streams[base().name].broken


@pytest.mark.parametrize(
    ("ended", "quiet", "kept"),
    [(False, timedelta(minutes=5), True), (True, timedelta(minutes=5), False), (False, timedelta(hours=2), False)],
)
def test_a_backup_stays_while_its_stream_is_followed_and_goes_with_all_of_it(
    tmp_path: Path, ended: bool, quiet: timedelta, kept: bool
) -> None:
    newer = base(400, 600)
    with open_store(str(tmp_path)) as store:
        put(store, *names((1, 105, 1000), (2, 110, 2000)), f"{base().name}.streamkey")
        chains.write_state(store, base().name, State("me@here", "t", 2, 110, MS + 2000, "a" * 64, ended))
        put(store, sidecar=newer)
        now = moment(MS + 2000) + quiet
        pruning = backups.plan(store, "prod", Policy(last=1), now)
        backups.prune(store, pruning, lambda _: None)
        left = {item.name for item in store.list()}
    assert (f"{base().name}.json" in left) is kept
    assert sum(name.startswith(base().name) for name in left) == (6 if kept else 0)
    assert f"{newer.name}.json" in left


class Counting(Directory):
    """A store that counts how often it is listed."""

    listings = 0

    def list(self) -> tuple[Item, ...]:
        Counting.listings += 1
        return super().list()


def test_a_store_is_listed_once_for_all_backups_that_go(tmp_path: Path) -> None:
    store = Counting(tmp_path)
    for age in range(4):
        put(store, sidecar=base(400 + age, age * 600))
    pruning = backups.plan(store, "prod", Policy(last=1), moment(MS + 2000))
    Counting.listings, gone = 0, list[str]()
    backups.prune(store, pruning, gone.append)
    assert (Counting.listings, len(gone)) == (1, 3)
    assert {item.name.partition(".")[0] for item in store.list()} == {base(403, 1800).name}


def test_what_is_under_way_goes_before_the_latest_backup_and_what_was_named_before_both(tmp_path: Path) -> None:
    latest, begun = base(400, 600), base()
    with open_store(str(tmp_path)) as store:
        put(store, *names((1, 105, 1000)))
        put(store, sidecar=latest)

        nowhere = Wish()

        def told(name: str, wish: Wish = nowhere, *, exact: bool = False) -> tuple[str, Wish]:
            found = UnderWay("id", name, {}, ()) if name else None
            sidecar, moment = wanted(store, Options("", latest, None, exact, wish=wish), found)
            return sidecar.name, moment

        assert told("") == (latest.name, nowhere)
        assert told(begun.name) == (begun.name, Wish())
        assert told(f"{begun.name}@103") == (begun.name, Wish(103))
        assert told(begun.name, exact=True) == (latest.name, Wish())
        assert told("", Wish(104)) == (begun.name, Wish(104))
        assert told("", Wish(104), exact=True) == (latest.name, Wish(104))


def test_a_stream_whose_backup_is_gone_is_left_over(tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as store:
        put(store, *names((1, 105, 1000)))
        store.delete(f"{base().name}.json")
        found = catalogue.read(store, "prod")
        assert {item.name for item in found.leftovers} == {f"{base().name}.cpkit", *names((1, 105, 1000))}
        assert catalogue.read(store, "other").leftovers == ()


def run(app: Typer, *words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


def test_a_stream_is_shown_with_its_backup(tmp_path: Path) -> None:
    with open_store(str(tmp_path)) as store:
        state = State("me@here", "t", 2, 110, MS + 5000, "a" * 64, ended=True)
        put(store, *names((1, 105, 1000), (2, 110, 2000)), state=state)
    words = ("--store", str(tmp_path))
    line = "revisions 100 to 110, 2031-05-06 07:08:09 to 2031-05-06 07:08:14 UTC, 2 segments, 10 B, ended"
    assert f"stream of {base().name}: {line}" in run(backup.app, "list", *words).splitlines()
    assert line in run(backup.app, "show", base().name, *words)
    (told,) = json.loads(run(backup.app, "list", *words, "-o", "json"))["streams"]
    assert told == json.loads(run(backup.app, "show", base().name, *words, "-o", "json"))["stream"]
    assert (told["from_revision"], told["to_revision"], told["to_time"]) == (100, 110, "2031-05-06T07:08:14+00:00")
    max(tmp_path.glob("*.seg")).unlink()
    assert "BROKEN" in run(backup.app, "list", *words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--to-revision", "5", "--to-time", "2031-05-06T07:08:09Z"), "exclude one another"),
        (("--to-time", "yesterday"), "no time"),
        (("--to-time", "2031-05-06T07:08:09"), "no time zone"),
    ],
)
def test_a_moment_that_means_nothing_is_refused_before_anything_is_read(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        run(restore.app, "etcd", "-i", "no-such-inventory", *words)


def test_the_name_of_a_restore_holds_its_revision() -> None:
    assert named(restored_name("prod-20310506T070809Z-r7", 9)) == ("prod-20310506T070809Z-r7", 9)
    assert named(restored_name("prod-20310506T070809Z-r7", 0)) == ("prod-20310506T070809Z-r7", 0)
