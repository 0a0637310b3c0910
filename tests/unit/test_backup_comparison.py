from dataclasses import dataclass

import pytest

from cpkit.backup.comparison import Difference, compare, read, restless


@dataclass(frozen=True)
class Row:
    key: bytes
    value: bytes
    mod_revision: int


@dataclass(frozen=True)
class Member:
    """Keys as etcd gives them: in order, from a key on, so many at a time."""

    held: dict[bytes, tuple[bytes, int]]

    def rows(self, start: bytes, end: bytes, *, revision: int, limit: int, keys_only: bool) -> tuple[Row, ...]:
        assert (end, revision) == (b"\0", 9)
        chosen = [key for key in sorted(self.held) if key >= start][:limit]
        return tuple(Row(key, b"" if keys_only else self.held[key][0], self.held[key][1]) for key in chosen)


def test_every_key_is_read_once_over_all_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpkit.backup.comparison.PAGE", 3)
    for number in (0, 1, 3, 7):
        member = Member({b"/registry/configmaps/a/%d" % each: (b"v", each) for each in range(number)})
        assert len(read(member, 9, by_content=False)) == number


def test_within_a_history_revisions_are_compared_and_across_them_values() -> None:
    old = Member({b"/a": (b"same", 1), b"/b": (b"one", 2)})
    new = Member({b"/a": (b"same", 5), b"/b": (b"two", 2)})
    revisions = [read(each, 9, by_content=False) for each in (old, new)]
    values = [read(each, 9, by_content=True) for each in (old, new)]
    assert [each.name for each in compare(*revisions)] == ["/a"]
    assert [each.name for each in compare(*values)] == ["/b"]


def test_differences_are_named_as_the_api_names_them() -> None:
    old = {
        b"/registry/configmaps/shop/web": 1,
        b"/registry/secrets/shop/db": 1,
        b"/registry/minions/n1": 1,
        b"/registry/x.example.org/widgets/shop/w": 1,
        b"/registry/leases/kube-system/apiserver-1": 1,
        b"compact_rev_key": 1,
    }
    new = {
        b"/registry/configmaps/shop/web": 1,
        b"/registry/minions/n1": 2,
        b"/registry/services/specs/shop/web": 3,
        b"/registry/x.example.org/widgets/shop/w": 2,
        b"/registry/leases/kube-system/apiserver-1": 2,
        b"compact_rev_key": 2,
    }
    found = compare(old, new)
    noise = restless(found)
    assert [each for each in found if each not in noise] == [
        Difference("nodes", "n1", "changed"),
        Difference("secrets", "shop/db", "removed"),
        Difference("services", "shop/web", "added"),
        Difference("widgets.x.example.org", "shop/w", "changed"),
    ]
    assert {each.resource for each in noise} == {"leases", "(not of Kubernetes)"}
    assert compare(old, old) == ()
