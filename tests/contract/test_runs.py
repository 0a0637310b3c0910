"""Runs read from the directories that they left: how each ended, which one is meant, and what is shown of it."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cpkit.cli.runs import app
from cpkit.errors import CpkitError, Interrupted, UsageError
from cpkit.journal import Run, open_run
from cpkit.runs import PAGE, drawn_run, find, listed, read
from cpkit.runs.page import render
from cpkit.runs.record import Record
from cpkit.series import Recorder
from cpkit.watch import Availability, Direct, Followed, Kept

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("CPKIT_INVENTORY", raising=False)
    return tmp_path / "cpkit"


def recorded(operation: str = "upgrade", cluster: str = "prod", does: Callable[[Run], None] = lambda _: None) -> Record:
    with open_run(cluster, operation) as run:
        does(run)
    record = read(run.directory)
    assert record is not None
    return record


def rolled(run: Run) -> None:
    """What an upgrade journals and reports: two turns, a leader that moves, a node that is away in its turn."""
    run.write("leader", node="cp2", term=2)
    for node in ("cp1", "cp2"):
        with run.step(f"Upgrade etcd on {node}"):
            run.write("host", host=node, task="Lay down etcd", state="changed")
            run.write("host", host="cp3", task="Look", state="ok")
    run.write("leader", node="cp1", term=3)
    through, direct = Recorder(run.started), Recorder(run.started)
    for at in (0.1, 0.2, 1.1):
        through.add(at, 0.005)
        direct.add(at, None, away=True)
    through.add(1.2, None, failed=True)
    direct.add(1.2, 0.004)
    nodes = {"cp1": Direct(True, 4, 0, 3, direct.series()), "cp3": Direct(False, 2, 2, 0, Recorder(0.0).series())}
    kept, followed = Kept(7, 0, 0.0, 2), Followed(9, 2, 0, 0.31)
    seen = Availability(4, 1, 0.25, through.series(), nodes, kept, followed)
    run.report(availability=asdict(seen), command="ansible-playbook upgrade.yml")


def raising(error: BaseException) -> Callable[[Run], None]:
    def does(run: Run) -> None:
        with run.step("Upgrade etcd on cp1"):
            raise error

    return does


def ended(error: BaseException) -> Record:
    with pytest.raises(type(error)):
        recorded(does=raising(error))
    return listed("prod")[0]


def test_a_run_that_ended_well_tells_its_turns_its_changes_and_the_api() -> None:
    record = recorded(does=rolled)
    assert (record.outcome, record.reason, record.operation, record.cluster) == ("done", "", "upgrade", "prod")
    assert [(turn.node, turn.what, turn.outcome) for turn in record.turns] == [
        ("cp1", "Upgrade etcd", "done"),
        ("cp2", "Upgrade etcd", "done"),
    ]
    assert record.changed == {"cp1": 1, "cp2": 1}
    assert [leader.node for leader in record.leaders] == ["cp2", "cp1"]
    assert (record.availability["failed"], record.directly["cp1"]["away"]) == (1, 3)


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (CpkitError("disk is full", node="cp1", hint="Make room."), "failed", "cp1: disk is full"),
        (Interrupted("stopped before cp2", hint="Go on."), "interrupted", "stopped before cp2"),
        (KeyboardInterrupt(), "interrupted", ""),
        (RuntimeError("broken"), "failed", "RuntimeError: broken"),
    ],
)
def test_a_run_that_did_not_end_well_says_why(error: BaseException, outcome: str, reason: str) -> None:
    record = ended(error)
    assert (record.outcome, record.reason) == (outcome, reason)
    assert record.hint == getattr(error, "hint", "")
    assert record.steps[0].outcome == ("failed" if isinstance(error, CpkitError) else "interrupted")


def test_a_failure_outside_a_step_is_told_as_well() -> None:
    def does(_run: Run) -> None:
        raise CpkitError("not confirmed", hint="Nothing was changed.")

    with pytest.raises(CpkitError):
        recorded(does=does)
    assert listed("prod")[0].reason == "not confirmed"


def test_a_run_that_holds_the_lock_is_going_on_and_a_later_one_does_not_make_it_so() -> None:
    with open_run("prod", "upgrade") as run, run.step("Upgrade etcd on cp1"):
        record = read(run.directory)
        assert record is not None
        assert (record.outcome, record.steps[0].outcome) == ("going on", "going on")
        later = read(run.directory)
        assert later is not None
        assert later.seconds > record.seconds
    assert listed("prod")[0].outcome == "done"


def test_a_dry_run_has_changed_nothing() -> None:
    def does(run: Run) -> None:
        run.write("host", host="cp1", task="Lay down etcd", state="changed")
        run.report(dry_run=True)

    assert recorded(does=does).changed == {}


def test_damaged_lines_and_a_damaged_report_hide_nothing_else() -> None:
    def does(run: Run) -> None:
        with (run.directory / "run.jsonl").open("ab") as stream:
            stream.write(
                b'null\n7\n[]\n{"event": "done"}\n{"at": 1}\n\xff\xfe\n{"at": 1, "event": "ho\n' + b"[" * 9000 + b"\n"
            )
        rolled(run)
        (run.directory / "report.json").write_text('{"availability": ')

    record = recorded(does=does)
    assert (record.outcome, len(record.turns), record.availability) == ("done", 2, {})
    assert "not known" in render(record)


def test_the_list_is_newest_first_over_all_clusters_and_has_a_limit(state: Path) -> None:
    for cluster, operation in (("prod", "bootstrap"), ("test", "bootstrap"), ("prod", "upgrade")):
        recorded(operation, cluster)
    (state / "clusters/prod/runs/20990101T000000.000Z-empty").mkdir()  # one that never began
    assert [(each.cluster, each.operation) for each in listed()] == [
        ("prod", "upgrade"),
        ("test", "bootstrap"),
        ("prod", "bootstrap"),
    ]
    assert [each.operation for each in listed("prod")] == ["upgrade", "bootstrap"]
    assert [each.operation for each in listed("prod", 1)] == ["upgrade"]


def test_a_run_is_found_by_its_name_by_how_it_begins_and_without_one_as_the_newest() -> None:
    first, second = recorded("bootstrap"), recorded("upgrade")
    for named in (first.name, first.name[:19], str(first.directory), f"{first.directory}/report.json"):
        assert find(named, "prod").name == first.name
    assert find("").name == second.name


def test_what_is_no_run_or_may_be_several_is_refused_with_a_way_out() -> None:
    with pytest.raises(UsageError, match="there is no run of any cluster"):
        find("")
    first = recorded("bootstrap")
    recorded("upgrade")
    with pytest.raises(UsageError) as unknown:
        find(first.name.replace("bootstrap", "botstrap"))
    assert f"Did you mean {first.name}?" in unknown.value.hint
    with pytest.raises(UsageError, match="may be") as ambiguous:
        find("20")
    assert first.name in ambiguous.value.message
    with pytest.raises(UsageError, match="of cluster other") as other:
        find("20", "other")
    assert "prod" in other.value.hint


# The page.


class Seen(HTMLParser):
    """The tags of a page, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def drawing(page: str) -> ET.Element:
    """The timeline, which has to be sound XML."""
    start, end = page.index("<svg viewBox"), page.index("</svg>") + len("</svg>")
    return ET.fromstring(page[start:end])  # noqa: S314 - made a line above


def test_the_page_draws_lanes_turns_leaders_latency_and_failures() -> None:
    record = recorded(does=rolled)
    page = render(record)
    svg = drawing(page)
    texts = [each.text for each in svg.iter("text")]
    assert {"all nodes", "cp1", "cp2", "cp3", "API latency"} <= set(texts)
    titles = [str(each.text) for each in svg.iter("title")]
    assert sum(title.startswith("Upgrade etcd on ") for title in titles) == 2
    assert "cp1 leads etcd after cp2, term 3" in titles
    assert "1 of 2 requests failed at 1 s" in titles
    assert any("failed in the node's own turn" in title for title in titles)
    assert not any(title.startswith("cp3: ") for title in titles)  # it never answered, so nothing is claimed of it
    assert "never answered" in page
    numbers = [float(value) for box in svg.iter("rect") for name, value in box.items() if name in {"x", "width"}]
    assert numbers
    assert min(numbers) >= 0
    assert all(float(box.get("x", 0)) + float(box.get("width", 0)) <= 1100 for box in svg.iter("rect"))
    assert {"1 of 4", "0 of 7", "ends of a watch, for 0.31 s at most"} <= set(Seen(page).texts)


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    seen = Seen(render(recorded(does=rolled)))
    assert not {tag for tag, _ in seen.tags} & {"script", "link", "img", "iframe", "object", "a"}
    assert not [
        name for _, attributes in seen.tags for name in attributes if name in {"src", "href", "style", "onclick"}
    ]


HOSTILE = """<script>alert(1)</script>"'&<svg onload=x> ]]> {{ 777*777 }}"""


def test_what_nodes_and_users_said_stands_in_the_page_as_text() -> None:
    def does(run: Run) -> None:
        run.write("leader", node=HOSTILE, term=2)
        finding = {"check": HOSTILE, "node": HOSTILE, "level": "fail", "text": HOSTILE, "hint": HOSTILE}
        run.report(findings=[finding], command=HOSTILE, availability={"requests": 1, "failed": 0, "longest_gap": 0.0})
        with run.step(f"{HOSTILE} on cp1"):
            raise CpkitError(HOSTILE, hint=HOSTILE, node=HOSTILE)

    with pytest.raises(CpkitError):
        recorded(does=does)
    page = render(listed("prod")[0])
    plain, seen = Seen(render(recorded(does=rolled))), Seen(page)
    assert {tag for tag, _ in seen.tags} <= {tag for tag, _ in plain.tags} | {"div", "h2", "b"}
    assert not [attributes for _, attributes in seen.tags if "onload" in attributes]
    assert HOSTILE in "".join(seen.texts)
    assert str(777 * 777) not in "".join(seen.texts)
    drawing(page)


def test_a_run_draws_its_page_when_it_is_over_however_it_ends() -> None:
    def broken() -> None:
        with drawn_run("prod", "upgrade") as run:
            rolled(run)
            raise CpkitError("it broke")

    with pytest.raises(CpkitError):
        broken()
    assert "it broke" in (find("").directory / PAGE).read_text()
    with drawn_run("prod", "upgrade") as other:
        pass
    assert not (other.directory / PAGE).exists()


def test_a_run_of_no_length_and_one_without_steps_are_drawn() -> None:
    drawing(render(recorded()))


# The commands.


def call(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_list_and_show_as_json_have_what_the_table_has() -> None:
    record = recorded(does=rolled)
    (row,) = json.loads(call("list", "-o", "json"))
    assert row == {
        "cluster": "prod",
        "run": record.name,
        "operation": "upgrade",
        "owner": record.owner,
        "began": row["began"],
        "ended": row["ended"],
        "seconds": round(record.seconds, 2),
        "outcome": "done",
        "reason": "",
        "changed": {"cp1": 1, "cp2": 1},
        "requests": 4,
        "failed": 1,
        "longest_gap": 0.25,
        "directory": str(record.directory),
    }
    shown = json.loads(call("show", "-o", "json"))
    assert shown | row == shown
    assert [step["node"] for step in shown["steps"]] == ["cp1", "cp2"]
    assert [each["node"] for each in shown["leaders"]] == ["cp2", "cp1"]
    assert shown["command"] == "ansible-playbook upgrade.yml"
    assert shown["report"] == json.loads((record.directory / "report.json").read_text())


def test_list_and_show_for_people() -> None:
    ended(CpkitError("disk is full", node="cp1", hint="Make room."))
    recorded(does=rolled)
    head, newest, older, *_ = call("list", "-i", "prod").splitlines()
    assert head.split()[:2] == ["RUN", "CLUSTER"]
    assert ("1 of 4" in newest, "0.25 s" in newest, "cp1, cp2" in newest) == (True, True, True)
    assert older.endswith("cp1: disk is full")
    told = call("show")
    for words in (
        "Upgrade etcd on cp2",
        "cp2 → cp1",
        "1 of 4 requests failed, longest gap 0.25 s",
        "on a kept connection: 0 of 7 failed",
        "a watch was cut 2 times, for 0.31 s at most",
        "3 in its own turn",
    ):
        assert words in told
    assert "1 older" in call("list", "--limit", "1")


def test_report_writes_the_page_beside_the_journal_or_where_it_is_wanted(tmp_path: Path) -> None:
    record = recorded(does=rolled)
    assert str(record.directory / PAGE) in call("report")
    wanted = tmp_path / "page.html"
    call("report", record.name, "--output", str(wanted))
    assert wanted.read_text() == (record.directory / PAGE).read_text()
    for place, error in ((tmp_path, UsageError), (tmp_path / "none" / "page.html", CpkitError)):
        done = CliRunner().invoke(app, ["report", "--output", str(place)])
        assert isinstance(done.exception, error)
