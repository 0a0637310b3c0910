from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cpkit.artifacts import ETCD, KUBERNETES, Target
from cpkit.artifacts.build import kubernetes_edits, kubernetes_ldflags
from cpkit.artifacts.cache import Cache
from cpkit.artifacts.chain import sources
from cpkit.artifacts.entry import Entry
from cpkit.artifacts.golang import parse_version, required_version
from cpkit.artifacts.http import shown
from cpkit.artifacts.mirror import FileMirror, HttpMirror, ReleaseSite, checksum, listed_checksum
from cpkit.artifacts.model import host_arch, known_arch
from cpkit.artifacts.record import Build, FileRecord, Origin, Record
from cpkit.errors import CpkitError, UsageError
from cpkit.versions import Version
from tests.unit.cases import cases

TARGET = Target(ETCD, Version(3, 6, 16), "amd64")
SHA = "ab" * 32
MIRROR = Origin("mirror", "/mnt")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def admit(cache: Cache, expected: Mapping[str, str] | None = None) -> Entry:
    with cache.staging(TARGET) as staging:
        for name in ETCD.binaries:
            (staging / name).write_bytes(name.encode() * 100)
        return cache.admit(TARGET, staging, expected or {}, MIRROR)


def test_a_target_lies_where_the_release_site_has_it() -> None:
    kubernetes = Target(KUBERNETES, Version(1, 36, 3), "arm64")
    assert kubernetes.release_dir == "release/v1.36.3/bin/linux/arm64"
    assert TARGET.release_dir == "etcd/v3.6.16/linux/amd64"


def test_an_unknown_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="s390x"):
        known_arch("s390x")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert host_arch() == "arm64"


def test_admitted_binaries_are_executable_recorded_and_found_again(cache: Cache) -> None:
    entry = admit(cache)
    assert cache.lookup(TARGET) == entry
    assert [binary.name for binary in entry.binaries] == ["etcd", "etcdctl", "etcdutl"]
    assert all(binary.path.stat().st_mode & 0o777 == 0o755 for binary in entry.binaries)
    assert cache.targets() == (TARGET,)
    assert cache.verify(TARGET) == ()


def test_a_wrong_checksum_never_enters(cache: Cache) -> None:
    with pytest.raises(CpkitError, match="etcdctl hashes to"):
        admit(cache, {"etcdctl": SHA})
    assert cache.lookup(TARGET) is None
    assert list((cache.root / "work").iterdir()) == []


def test_a_binary_that_was_only_touched_is_still_good(cache: Cache) -> None:
    binary = admit(cache).binaries[0]
    binary.path.touch()
    assert cache.lookup(TARGET) is not None


@pytest.mark.parametrize("content", [b"shorter", b"ETCD" * 100])
def test_a_changed_binary_is_not_served(cache: Cache, content: bytes) -> None:
    entry = admit(cache)
    entry.binaries[0].path.write_bytes(content)
    assert cache.lookup(TARGET) is None
    assert len(cache.verify(TARGET)) == 1


def test_a_missing_binary_is_not_served(cache: Cache) -> None:
    entry = admit(cache)
    entry.binaries[1].path.unlink()
    assert cache.lookup(TARGET) is None
    assert cache.verify(TARGET) == ("etcdctl is missing",)


def test_a_damaged_entry_is_replaced_whole(cache: Cache) -> None:
    admit(cache).binaries[0].path.write_bytes(b"broken")
    admit(cache)
    assert cache.verify(TARGET) == ()


def test_an_entry_without_a_record_is_not_served_and_is_told(cache: Cache) -> None:
    (admit(cache).directory / "record.json").write_text("{")
    assert cache.lookup(TARGET) is None
    assert cache.verify(TARGET) == ("record.json is missing or damaged",)


def test_a_dropped_entry_is_gone(cache: Cache) -> None:
    admit(cache)
    cache.drop(TARGET)
    assert cache.lookup(TARGET) is None
    assert cache.targets() == ()


def test_what_a_killed_run_left_is_swept(cache: Cache) -> None:
    left = cache.root / "work" / f"{TARGET.key}.dead.staging"
    left.mkdir(parents=True)
    with cache.staging(TARGET):
        assert not left.exists()


@cases("text", ["", "{}", '{"schema": 99}', "[]", '{"schema": 1, "files": 3}'])
def test_a_damaged_record_counts_as_none(text: str) -> None:
    assert Record.parse(text) is None


def test_a_record_reads_back_as_written() -> None:
    build = Build(go="go1.26.8", go_sum_sha256=SHA, modules={"k8s.io/kubernetes": "v1.36.3"})
    record = Record(
        files=(FileRecord("etcd", SHA, 3, 4),),
        origin=Origin("build", "Go modules", build),
        fetched=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    assert Record.parse(record.to_json()) == record


@pytest.mark.parametrize("text", [SHA, f"{SHA}\n", f"{SHA.upper()}  kubectl\n", f"  {SHA} *kubectl"])
def test_a_checksum_file_is_read_bare_or_as_sha256sum_writes_it(text: str) -> None:
    assert checksum(text, "kubectl") == SHA


@pytest.mark.parametrize("text", ["", "<html>Sign in</html>", SHA[:-1], SHA + "0"])
def test_what_is_not_a_checksum_is_refused(text: str) -> None:
    with pytest.raises(CpkitError, match=r"kubectl\.sha256 holds no sha256"):
        checksum(text, "kubectl")


def test_the_checksum_list_is_read_by_whole_name() -> None:
    other = "cd" * 32
    text = (
        f"{other}  etcd-linux-amd64.tar.gz.sig\n{other}  old-etcd-linux-amd64.tar.gz\n{SHA}  etcd-linux-amd64.tar.gz\n"
    )
    assert listed_checksum(text, "etcd-linux-amd64.tar.gz") == SHA
    with pytest.raises(CpkitError, match="names no etcd-linux-arm64"):
        listed_checksum(text, "etcd-linux-arm64.tar.gz")


def test_staging_modules_are_replaced_by_their_published_versions() -> None:
    go_mod = (
        "module k8s.io/kubernetes\n\ngo 1.26.0\n\nrequire (\n\tk8s.io/api v0.0.0\n\tk8s.io/cri-api v0.0.0\n"
        "\tk8s.io/klog/v2 v2.130.1\n\tk8s.io/utils v0.0.0-20260210185600-b8788abfbbc2\n)\n"
    )
    assert kubernetes_edits(go_mod, Version(1, 36, 3)) == (
        "-replace=k8s.io/api=k8s.io/api@v0.36.3",
        "-replace=k8s.io/cri-api=k8s.io/cri-api@v0.36.3",
    )


def test_the_version_is_stamped_for_servers_and_clients() -> None:
    flags = kubernetes_ldflags(Version(1, 36, 3))
    assert "-X k8s.io/component-base/version.gitVersion=v1.36.3" in flags
    assert "-X k8s.io/client-go/pkg/version.gitMinor=36" in flags


@pytest.mark.parametrize(
    ("text", "version"),
    [("go version go1.26.8 linux/amd64", (1, 26, 8)), ("1.26.0", (1, 26, 0)), ("go1.27rc1", (1, 27)), ("none", ())],
)
def test_go_versions(text: str, version: tuple[int, ...]) -> None:
    assert parse_version(text) == version


def test_the_go_line_of_a_module_is_the_oldest_go() -> None:
    assert required_version("module x\n\ngo 1.26.0\n\ntoolchain go1.26.8\n") == (1, 26, 0)
    assert required_version("module x\n") == ()


def test_auto_is_the_release_site_and_then_a_build(cache: Cache) -> None:
    first, second = sources("auto", cache)
    assert isinstance(first, ReleaseSite)
    assert "Go modules" in second.name


def test_a_named_source_is_the_only_one(cache: Cache, tmp_path: Path) -> None:
    assert [type(source) for source in sources("https://mirror.example/k8s", cache)] == [HttpMirror]
    assert [type(source) for source in sources(str(tmp_path), cache)] == [FileMirror]
    assert [type(source) for source in sources(tmp_path.as_uri(), cache)] == [FileMirror]


def test_a_source_that_is_nothing_is_refused(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UsageError, match="neither a directory nor a tar"):
        sources(str(tmp_path / "notes.txt"), cache)
    with pytest.raises(UsageError, match="does not exist"):
        sources(str(tmp_path / "absent"), cache)


def test_a_password_in_a_url_is_not_shown() -> None:
    assert shown("https://me:secret@mirror.example/k8s") == "https://mirror.example/k8s"
