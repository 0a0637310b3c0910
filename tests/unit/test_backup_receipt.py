from pathlib import Path

import pytest

from cpkit.backup.encryption import covers, encrypted, refuse_distant_keys
from cpkit.backup.errors import DamagedBackup
from cpkit.backup.manifest import Hash
from cpkit.backup.sandbox.apiserver import settings
from cpkit.backup.sandbox.process import end_of, last_words
from cpkit.backup.sandbox.scratch import MIB, PROCESSES, Place, choose
from cpkit.errors import Refused
from cpkit.operations.drill import chosen, miscounted

CONFIGURATION = b"""
kind: EncryptionConfiguration
resources:
  - resources: [secrets, deployments.apps]
    providers: [{secretbox: {keys: [{name: a, secret: b}]}}, {identity: {}}]
  - resources: ['*.example.org']
    providers: [{identity: {}}]
"""


def test_counts_must_be_the_manifests_own() -> None:
    assert miscounted({"pods": 1, "secrets": 2}, {"pods": 1, "secrets": 2}) == ""
    assert miscounted(None, {"pods": 1}) == ""
    assert "secrets 1 of 2" in miscounted({"secrets": 2}, {"secrets": 1})
    assert "leases 0 of 1" in miscounted({"leases": 1}, {})  # at that very revision nothing has expired
    assert "pods 1 of 0" in miscounted({}, {"pods": 1})
    assert "and 2 more" in miscounted(dict.fromkeys("abcde", 1), {})


def test_the_hash_is_that_of_the_member_the_snapshot_came_from() -> None:
    hashes = (Hash("cp1", 1, 9, 3), Hash("cp2", 2, 9, 4))
    assert chosen(hashes, "cp2") == hashes[1]
    assert chosen(hashes, "cp3") == hashes[0]
    assert chosen((), "cp3") is None


def test_what_is_encrypted() -> None:
    names = encrypted(CONFIGURATION)
    assert covers(names, "secrets")
    assert covers(names, "deployments.apps")
    assert covers(names, "widgets.example.org")
    assert not covers(names, "configmaps")
    assert not covers(names, "deployments")
    assert covers(encrypted(CONFIGURATION.replace(b"secrets,", b"'*.',")), "configmaps")
    assert covers(encrypted(CONFIGURATION.replace(b"secrets,", b"'*.*',")), "configmaps")
    assert encrypted(None) == frozenset()
    for broken in (b"a: b\n", b"{", b"[]", b"resources: 3\n", b"resources: [3]\n"):
        with pytest.raises(DamagedBackup):
            encrypted(broken)


def test_keys_that_are_elsewhere_are_refused() -> None:
    refuse_distant_keys(CONFIGURATION)
    with pytest.raises(Refused, match="KMS 'vault'"):
        refuse_distant_keys(CONFIGURATION + b"  - {resources: [pods], providers: [{kms: {name: vault}}]}\n")


def test_only_what_decides_how_objects_are_read_is_taken_over() -> None:
    unit = "ExecStart=/a \\\n  --feature-gates=A=true,B=false \\\n  --etcd-servers=https://10.0.0.1:2379\n"
    assert settings(unit) == {"feature-gates": "A=true,B=false", "service-cluster-ip-range": "10.96.0.0/12"}
    assert settings("--service-cluster-ip-range=10.1.0.0/16")["service-cluster-ip-range"] == "10.1.0.0/16"


def test_a_place_in_memory_with_room_is_chosen_or_the_reason_told() -> None:
    small, large = Place(Path("/run/user/1"), "tmpfs", 10 * MIB), Place(Path("/memory"), "tmpfs", 900 * MIB)
    disk = Place(Path("/srv"), "ext4", 1 << 40)
    plenty = 1 << 40
    assert choose((large, small), 100 * MIB, plenty, named=False) == large.path
    assert choose((disk, large), 100 * MIB, plenty, named=False) == large.path
    for places, needed, available, named, reason in (
        ((small,), 100 * MIB, plenty, False, "/run/user/1 has 10 MiB free, and 100 MiB are needed"),
        ((), 1, plenty, False, "there is no tmpfs on this machine"),
        ((disk,), 1, plenty, True, "/srv is on a disk \\(ext4\\)"),
        ((large,), 100 * MIB, 100 * MIB + PROCESSES - 1, False, "of memory are available"),
    ):
        with pytest.raises(Refused, match=reason):
            choose(places, needed, available, named=named)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["I1125 01:25:56.0   25022 a.go:4] fine", "E1125 01:25:56.0   25022 a.go:4] it broke", "I1125 more"],
            "it broke",
        ),
        (['{"level":"error","msg":"no","error":"why"}', '{"level":"info","msg":"yes"}'], "no: why"),
        (["Error: wrong hash", ""], "Error: wrong hash"),
        (["panic: no memory", "", "goroutine 1 [running]:", "main.main()"], "panic: no memory"),
        (["something"], "something"),
        ([], "it said nothing"),
    ],
)
def test_last_words(tmp_path: Path, lines: list[str], told: str) -> None:
    (tmp_path / "log").write_text("\n".join(lines))
    assert last_words(tmp_path / "log") == told


def test_the_end_of_a_log_outlives_its_folder(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("\n".join(["", *map(str, range(100)), "the last", ""]))
    assert end_of(tmp_path / "log").splitlines() == [
        "The end of its log:",
        *(f"    {number}" for number in range(93, 100)),
        "    the last",
    ]
    (tmp_path / "log").write_text("\n")
    assert end_of(tmp_path / "log") == ""
