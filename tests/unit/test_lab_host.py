"""What a lab takes from its host: limits, package sources; and what its faults block."""

import resource

import pytest

from cpkit.lab.engine import limits
from cpkit.lab.faults import addresses, ruleset
from cpkit.lab.image import image_tag
from cpkit.lab.layout import Layout
from cpkit.lab.mirrors import deb822_entries, one_line_entries

LAYOUT = Layout("t", 7)
UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("hard", "expected"),
    [
        (UNLIMITED, ["nofile=1048576:1048576", "nproc=32768:32768"]),
        (20000, ["nofile=20000:20000", "nproc=20000:20000"]),
        (1 << 30, ["nofile=1048576:1048576", "nproc=32768:32768"]),
    ],
)
def test_limits_are_never_above_the_callers_own(
    monkeypatch: pytest.MonkeyPatch, hard: int, expected: list[str]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, hard))
    assert limits() == expected


def test_debian_sources_of_the_suite_are_found_in_both_forms() -> None:
    assert one_line_entries(
        "# deb http://old/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror/debian/ bookworm main contrib\n"
        "deb-src http://mirror/debian bookworm main\n"
        "deb http://mirror/debian trixie main\n",
        "bookworm",
    ) == ["deb http://mirror/debian/ bookworm main"]
    assert deb822_entries(
        "Types: deb deb-src\nURIs: http://m/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\n"
        "# security\nTypes: deb\nURIs: http://m/debian-security\nSuites: bookworm-security\nComponents: main\n\n"
        "Enabled: no\nTypes: deb\nURIs: http://off/debian\nSuites: bookworm\nComponents: main\n",
        "bookworm",
    ) == [
        "deb http://m/debian bookworm main",
        "deb http://m/debian bookworm-updates main",
        "deb http://m/debian-security bookworm-security main",
    ]


def test_other_projects_repositories_are_not_taken_for_debian() -> None:
    foreign = (
        "deb [signed-by=/k] https://example.org/linux/debian bookworm stable\n"
        "deb https://example.org/tool bookworm main\n"
        "deb https://example.org/debian nodistro main\n"
    )
    assert one_line_entries(foreign, "bookworm") == []


def test_the_image_tag_is_stable_and_names_its_recipe() -> None:
    assert image_tag() == image_tag()
    assert len(image_tag().rpartition(":")[2]) == 12


def test_a_node_cut_off_from_one_other_still_reaches_the_rest() -> None:
    assert addresses(LAYOUT, LAYOUT.machine("cp1"), [LAYOUT.machine("cp2")]) == ("10.203.7.12",)


def test_the_endpoint_goes_with_the_last_balancer() -> None:
    cp1, lb1, lb2 = (LAYOUT.machine(name) for name in ("cp1", "lb1", "lb2"))
    assert LAYOUT.vip not in addresses(LAYOUT, cp1, [lb1])
    assert LAYOUT.vip in addresses(LAYOUT, cp1, [lb1, lb2])


def test_balancers_parted_from_each_other_lose_their_advertisements() -> None:
    lb1, lb2, cp1 = (LAYOUT.machine(name) for name in ("lb1", "lb2", "cp1"))
    assert "224.0.0.18" in addresses(LAYOUT, lb1, [lb2])
    assert "224.0.0.18" not in addresses(LAYOUT, cp1, [lb1, lb2])
    assert "224.0.0.18" not in addresses(LAYOUT, lb1, [cp1])


def test_one_way_blocks_only_what_is_sent() -> None:
    elements = "add element inet cpkit_lab {} {{ 10.203.7.12 }}"
    both, sent = ruleset(["10.203.7.12"], one_way=False), ruleset(["10.203.7.12"], one_way=True)
    assert elements.format("unsent") in both
    assert elements.format("unheard") in both
    assert elements.format("unsent") in sent
    assert elements.format("unheard") not in sent
