import hashlib
import io
import socket
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpkit.artifacts import ETCD, KUBERNETES, Entry, Silent, Target
from cpkit.artifacts.cache import Cache
from cpkit.artifacts.chain import fetch
from cpkit.artifacts.http import Patience
from cpkit.artifacts.mirror import HttpMirror, ReleaseSite
from cpkit.artifacts.progress import Progress
from cpkit.artifacts.source import Fetched, Source
from cpkit.errors import CpkitError
from cpkit.versions import Version
from tests.contract.artifact_server import Site, serving

TARGET = Target(ETCD, Version(3, 6, 16), "amd64")
KUBE = Target(KUBERNETES, Version(1, 36, 3), "amd64")
CONTENT = {name: hashlib.shake_128(name.encode()).digest(300_000) for name in ETCD.binaries}
IMPATIENT = Patience(connect=1, read=0.3, window=0.4, floor=1000, attempts=2)


class Lines(Silent):
    """A listener that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


class NeverAsked:
    """A source after which nothing may come."""

    name = "the next source"

    def __init__(self) -> None:
        self.asked = False

    def fetch(self, *_: object) -> Fetched:
        self.asked = True
        raise CpkitError("the next source was asked")


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as site:
        site.publish(TARGET, CONTENT)
        yield site


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def get(site: Site, cache: Cache, *more: Source, progress: Progress | None = None) -> Entry:
    return fetch(TARGET, (HttpMirror(site.url, IMPATIENT), *more), cache, progress or Silent())


def failure(site: Site, cache: Cache) -> CpkitError:
    with pytest.raises(CpkitError) as caught:
        get(site, cache)
    assert cache.lookup(TARGET) is None
    assert not cache.directory(TARGET).exists()
    assert caught.value.hint
    return caught.value


def test_a_mirror_fills_the_cache_and_is_not_asked_again(site: Site, cache: Cache) -> None:
    entry = get(site, cache)
    assert {binary.name: binary.path.read_bytes() for binary in entry.binaries} == CONTENT
    asked = site.requests.total()
    assert get(site, cache) == entry
    assert site.requests.total() == asked == 6


def test_one_content_under_many_names_is_downloaded_and_stored_once(site: Site, cache: Cache) -> None:
    site.publish(KUBE, dict.fromkeys(KUBERNETES.binaries, b"one program"))
    entry = fetch(KUBE, (HttpMirror(site.url),), cache, Silent())
    assert sum(site.requests[site.path(KUBE, name)] for name in KUBERNETES.binaries) == 1
    assert len({binary.path.stat().st_ino for binary in entry.binaries}) == 1


def test_a_wrong_checksum_is_refused_and_no_other_source_is_tried(site: Site, cache: Cache) -> None:
    site.files[site.path(TARGET, "etcdctl")] = b"something else"
    after = NeverAsked()
    with pytest.raises(CpkitError, match=r"etcdctl has the wrong checksum: its 14 bytes") as caught:
        get(site, cache, after)
    assert "Nothing was cached" in caught.value.hint
    assert cache.lookup(TARGET) is None
    assert not after.asked
    assert not list(cache.root.rglob("*.part"))


def test_a_file_truncated_on_the_mirror_is_refused(site: Site, cache: Cache) -> None:
    site.files[site.path(TARGET, "etcd")] = CONTENT["etcd"][:1000]
    assert "its 1000 bytes hash to" in failure(site, cache).message


def test_a_missing_file_is_named(site: Site, cache: Cache) -> None:
    del site.files[site.path(TARGET, "etcdutl")]
    assert f"{site.url}/etcd/v3.6.16/linux/amd64/etcdutl does not exist (404)" in failure(site, cache).message


def test_a_missing_version_is_named(site: Site, cache: Cache) -> None:
    site.files.clear()
    assert "etcd.sha256 does not exist (404)" in failure(site, cache).message


def test_a_server_error_is_told(site: Site, cache: Cache) -> None:
    site.status[site.path(TARGET, "etcd")] = 503
    assert "answers 503 Service Unavailable" in failure(site, cache).message


def test_a_login_page_is_not_a_checksum(site: Site, cache: Cache) -> None:
    site.files[site.path(TARGET, "etcd.sha256")] = b"<html>Please sign in</html>"
    assert "holds no sha256 but '<html>" in failure(site, cache).message


def test_a_cut_connection_is_resumed(site: Site, cache: Cache) -> None:
    site.cut_after[site.path(TARGET, "etcd")] = [100_000, 50_000, 20_000]
    assert get(site, cache).binaries[0].path.read_bytes() == CONTENT["etcd"]
    assert site.ranges_asked == ["bytes=100000-", "bytes=150000-", "bytes=170000-"]


def test_a_fetch_that_failed_goes_on_where_it_stopped(site: Site, cache: Cache) -> None:
    path = site.path(TARGET, "etcd")
    site.cut_after[path] = [200_000, 0, 0]
    error = failure(site, cache)
    assert "was cut off, 200000 bytes in" in error.message
    assert "go on from there" in error.hint
    assert get(site, cache).binaries[0].path.read_bytes() == CONTENT["etcd"]
    assert site.ranges_asked[-1] == "bytes=200000-"


def test_a_server_that_ignores_ranges_starts_the_file_again(site: Site, cache: Cache) -> None:
    site.ranges = False
    site.cut_after[site.path(TARGET, "etcd")] = [100_000]
    assert get(site, cache).binaries[0].path.read_bytes() == CONTENT["etcd"]


def test_a_partial_file_that_does_not_fit_is_downloaded_whole(site: Site, cache: Cache) -> None:
    sha256 = hashlib.sha256(CONTENT["etcd"]).hexdigest()
    part = cache.workspace(TARGET) / f"etcd.{sha256[:16]}.part"
    part.write_bytes(b"x" * 1000)
    lines = Lines()
    assert get(site, cache, progress=lines).binaries[0].path.read_bytes() == CONTENT["etcd"]
    assert any("does not fit" in line for line in lines.lines)


def test_a_partial_file_that_is_whole_is_used_as_it_is(site: Site, cache: Cache) -> None:
    sha256 = hashlib.sha256(CONTENT["etcd"]).hexdigest()
    (cache.workspace(TARGET) / f"etcd.{sha256[:16]}.part").write_bytes(CONTENT["etcd"])
    assert get(site, cache).binaries[0].path.read_bytes() == CONTENT["etcd"]


def test_a_silent_server_is_given_up(site: Site, cache: Cache) -> None:
    site.silent_after[site.path(TARGET, "etcd")] = 500
    began = time.monotonic()
    error = failure(site, cache)
    assert "etcd fell silent for 0.3 s" in error.message
    assert time.monotonic() - began < 5


def test_a_trickle_is_given_up(site: Site, cache: Cache) -> None:
    site.trickle[site.path(TARGET, "etcd")] = 0.05
    assert "etcd stalled:" in failure(site, cache).message


def test_a_network_without_the_release_site_falls_over_at_once(cache: Cache) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, never listening: refused
        port = closed.getsockname()[1]
        lines, after = Lines(), NeverAsked()
        nowhere = ReleaseSite(etcd=f"http://127.0.0.1:{port}", patience=IMPATIENT)
        with pytest.raises(CpkitError) as caught:
            fetch(TARGET, (nowhere, after), cache, lines)
    assert after.asked
    assert len(lines.lines) == 1
    assert lines.lines[0].startswith("cannot reach 127.0.0.1")
    assert lines.lines[0].endswith("falling back to the next source")
    assert "no source has etcd 3.6.16 (linux/amd64): cannot reach" in caught.value.message


def release_of_etcd(site: Site, names: tuple[str, ...] = ETCD.binaries) -> None:
    stem = "etcd-v3.6.16-linux-amd64"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(f"{stem}/{name}")
            member.size = len(CONTENT[name])
            tar.addfile(member, io.BytesIO(CONTENT[name]))
    archive = buffer.getvalue()
    site.files[f"/v3.6.16/{stem}.tar.gz"] = archive
    site.files["/v3.6.16/SHA256SUMS"] = f"{hashlib.sha256(archive).hexdigest()}  {stem}.tar.gz\n".encode()


def test_etcd_comes_from_its_release_archive(site: Site, cache: Cache) -> None:
    release_of_etcd(site)
    entry = fetch(TARGET, (ReleaseSite(etcd=site.url),), cache, Silent())
    assert {binary.name: binary.path.read_bytes() for binary in entry.binaries} == CONTENT
    assert entry.record.origin.kind == "release"
    assert not list(cache.root.rglob("*.part"))


def test_an_archive_without_a_binary_is_refused(site: Site, cache: Cache) -> None:
    release_of_etcd(site, ("etcd", "etcdctl"))
    with pytest.raises(CpkitError, match=r"holds no etcd-v3\.6\.16-linux-amd64/etcdutl"):
        fetch(TARGET, (ReleaseSite(etcd=site.url),), cache, Silent())
    assert cache.lookup(TARGET) is None


def test_kubernetes_comes_from_the_release_layout(site: Site, cache: Cache) -> None:
    site.publish(KUBE, {name: name.encode() for name in KUBERNETES.binaries})
    entry = fetch(KUBE, (ReleaseSite(kubernetes=site.url),), cache, Silent())
    assert [binary.path.read_text() for binary in entry.binaries] == list(KUBERNETES.binaries)
