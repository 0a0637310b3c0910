from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cpkit.errors import CpkitError
from cpkit.inventory import ClusterSpec, InvalidInventory, load
from cpkit.inventory.document import Document, read
from cpkit.inventory.problems import Problems
from cpkit.inventory.template import scalar

HOSTS = "all: {children: {control_plane: {hosts: {cp1: {ansible_host: 192.0.2.11}}}}}\n"
VARIABLES = "cluster_name: prod\ncluster_endpoint: api.example.org\n"
NAMES = sorted(ClusterSpec.model_fields)
few = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        (Path(name) / "group_vars").mkdir()
        yield Path(name)


def write(folder: Path, hosts: str, variables: str) -> Path:
    (folder / "hosts.yml").write_text(hosts, encoding="utf-8")
    (folder / "group_vars" / "all.yml").write_text(variables, encoding="utf-8")
    return folder


@st.composite
def typos(draw: st.DrawFn) -> tuple[str, str]:
    """A name, and the same with one slip of the finger."""
    name = draw(st.sampled_from(NAMES))
    at = draw(st.integers(0, len(name) - 2))
    letter = draw(st.sampled_from("abcxyz_-"))
    slips = [
        name[:at] + name[at + 1 :],
        name[:at] + letter + name[at:],
        name[:at] + letter + name[at + 1 :],
        name[:at] + name[at + 1] + name[at] + name[at + 2 :],
    ]
    return name, draw(st.sampled_from(slips))


@few
@given(typos())
def test_any_single_typo_is_refused_with_the_right_name(folder: Path, typo: tuple[str, str]) -> None:
    name, slip = typo
    if slip in NAMES or slip.startswith("-"):
        return
    with pytest.raises(InvalidInventory) as caught:
        load(write(folder, HOSTS, f"{VARIABLES}{slip}: 1\n"))
    assert f"did you mean '{name}'?" in str(caught.value)
    assert "all.yml:3" in str(caught.value)


FRAGMENTS = [
    *("all:", "children:", "hosts:", "vars:", "control_plane:", "cp1:", "ansible_host:"),
    *("\n", "\n  ", "\n    ", "- ", "{", "}", "[", "]", ",", ": ", "? ", "|", ">", "'", '"', "#", "\t", "\u2028", "\0"),
    *("&a ", "*a", "<<: ", "!vault ", "!!int ", "!!set ", "%YAML 1.3\n", "---", "...", "@", "`", "="),
    *("{{ x }}", "1.36", "0x", "0b", "yes", "~", "2024-01-01"),
]
fragments = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join)
texts = st.one_of(fragments, st.text(st.characters(codec="utf-8"), max_size=40))


@few
@given(texts, texts)
def test_whatever_the_files_hold_only_cpkits_own_errors_are_raised(folder: Path, hosts: str, variables: str) -> None:
    for pair in ((hosts, VARIABLES), (HOSTS, VARIABLES + variables), (hosts, variables)):
        try:
            load(write(folder, *pair))
        except CpkitError as error:
            assert str(error)  # noqa: PT017 - both ends are fine: a cluster, or an error in words


leaves = st.one_of(st.none(), st.booleans(), st.integers(-10, 10), st.floats(), st.text(max_size=6))
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
)


@few
@given(st.dictionaries(st.sampled_from([*NAMES, "ansible_host", "ansible_port", "node_address"]), values, max_size=3))
def test_values_of_any_kind_end_in_words(folder: Path, variables: dict[str, object]) -> None:
    text = "".join(f"{name}: {scalar(value)}\n" for name, value in variables.items())
    try:
        load(write(folder, HOSTS, text))
    except InvalidInventory as error:
        assert all(problem.text for problem in error.problems)  # noqa: PT017


@few
@given(st.one_of(st.booleans(), st.integers(-10, 10), st.text(st.characters(codec="utf-8"), max_size=12)))
def test_values_that_init_writes_are_read_back(folder: Path, value: object) -> None:
    file = folder / "one.yml"
    file.write_text(f"x: {scalar(value)}\n", encoding="utf-8", newline="")
    problems = Problems(file)
    document: Document = read(file, problems)
    assert problems.found == []
    assert document.value == {"x": value}
    assert document.place("x").line == 1
