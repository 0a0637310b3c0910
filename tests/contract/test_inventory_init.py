import json
import re
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from cpkit.cli.bootstrap import app as bootstrap
from cpkit.cli.init import app as init
from cpkit.cli.schema import app as schema
from cpkit.errors import Exit, UsageError
from cpkit.inventory import ClusterSpec, load
from cpkit.paths import ansible_root

# The command that inventories/example was written by; also in docs and in the file itself.
EXAMPLE = [
    "example",
    *("--control-plane", "cp1=192.0.2.11,cp2=192.0.2.12,cp3=192.0.2.13"),
    *("--load-balancer", "lb1=192.0.2.21,lb2=192.0.2.22"),
    *("--endpoint", "192.0.2.100", "--user", "admin", "--key", "~/.ssh/id_ed25519"),
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, app: Typer = init) -> Result:
    done = CliRunner().invoke(app, list(words))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_example_is_what_init_writes(here: Path) -> None:
    assert run(*EXAMPLE).exit_code == 0
    assert files(here / "inventories" / "example") == files(ansible_root() / "inventories" / "example")


def test_what_init_writes_loads_as_asked(here: Path) -> None:
    run("prod", *EXAMPLE[1:], "--kubernetes-version", "1.35")
    cluster = load("prod")
    assert cluster.name == "prod"
    assert [(node.name, node.address) for node in cluster.load_balancers] == [
        ("lb1", "192.0.2.21"),
        ("lb2", "192.0.2.22"),
    ]
    assert cluster.endpoint.host == "192.0.2.100"
    assert cluster.nodes[0].ssh.user == "admin"
    assert cluster.nodes[0].ssh.key_file == Path.home() / ".ssh" / "id_ed25519"
    assert cluster.spec.kubernetes.series == "1.35"
    assert cluster.inventory.parent == here / "inventories" / "prod"


def test_every_variable_is_documented_and_its_default_is_true() -> None:
    run(*EXAMPLE)
    path = Path("inventories/example/group_vars/all.yml")
    text = path.read_text()
    written = set(re.findall(r"^(?:# )?(\w+): ", text, re.MULTILINE)) & set(ClusterSpec.model_fields)
    assert written == set(ClusterSpec.model_fields)
    before = load("example").spec
    names = "|".join(ClusterSpec.model_fields)
    path.write_text(re.sub(rf"^# (?=(?:{names}): )", "", text, flags=re.MULTILINE))
    assert path.read_text() != text
    assert load("example").spec == before


def test_a_directory_elsewhere(here: Path) -> None:
    run("deep/down/prod", "--control-plane", "a=192.0.2.1", "--endpoint", "192.0.2.1")
    assert load("deep/down/prod").name == "prod"
    assert (here / "deep" / "down" / "prod").stat().st_mode & 0o700 == 0o700
    assert [path.name for path in (here / "deep" / "down").iterdir()] == ["prod"]


def test_an_inventory_that_exists_is_never_touched(here: Path) -> None:
    run(*EXAMPLE)
    before = files(here)
    with pytest.raises(UsageError, match="is there already"):
        run("example", "--control-plane", "a=192.0.2.1", "--endpoint", "192.0.2.1")
    assert files(here) == before


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("p", "--control-plane", "a=192.0.2.1,b=192.0.2.2", "--endpoint", "192.0.2.9"), "has 2 hosts"),
        (("p", "--control-plane", "a=192.0.2.1", "--endpoint", "192.0.2.1:1"), "port 6443"),
        (("p", "--control-plane", "a=192.0.2.1,a=192.0.2.2", "--endpoint", "x"), "'a' is written twice"),
        (("p", "--control-plane", "a: b=192.0.2.1", "--endpoint", "x"), "'a: b'"),
        (("p", "--control-plane", "a={{ x }}", "--endpoint", "x"), "is a template"),
        (("p", "--control-plane", "a=192.0.2.1", "--endpoint", "{{ x }}"), "is a template"),
        (("Bad_Name", "--control-plane", "a=192.0.2.1", "--endpoint", "x"), "cluster_name must be"),
        (("p", "--control-plane", "192.0.2.1", "--endpoint", "x"), "is not NAME=ADDRESS"),
        (("p", "--control-plane", "a=192.0.2.1", "--endpoint", "x", "--kubernetes-version", "1.20"), "not supported"),
    ],
)
def test_nothing_unsound_is_written(here: Path, words: tuple[str, ...], text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(text)) as caught:
        run(*words)
    assert caught.value.code is Exit.USAGE
    assert files(here) == {}
    assert [path for path in here.rglob("*") if path.name != "inventories"] == []


def test_a_bootstrap_refuses_an_even_number_before_it_looks_at_any_machine(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(here / "state"))
    run("prod", "--control-plane", "a=192.0.2.1", "--endpoint", "192.0.2.100")
    hosts = here / "inventories" / "prod" / "hosts.yml"
    hosts.write_text(
        re.sub(r"^( *)a: .*$", r"\g<0>\n\1b: {ansible_host: 192.0.2.2}", hosts.read_text(), flags=re.MULTILINE)
    )
    assert len(load("prod").control_plane) == 2
    with pytest.raises(UsageError, match="2 hosts, which tolerate no more failures than 1"):
        run("-i", "prod", "--yes", app=bootstrap)
    assert not (here / "state").exists(), "no run was begun"


def test_schema_prints_every_variable_with_its_meaning() -> None:
    printed = json.loads(CliRunner().invoke(schema, []).stdout)
    assert set(ClusterSpec.model_fields) <= set(printed["properties"])
    assert all(printed["properties"][name]["description"] for name in printed["properties"])
    assert json.loads(CliRunner().invoke(schema, ["--hosts"]).stdout)["required"] == ["all"]
