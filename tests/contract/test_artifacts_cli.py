import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpkit.artifacts import ETCD, KUBERNETES, Target
from cpkit.versions import Version
from tests.contract.artifact_server import Site, serving

ETCD_TARGET = Target(ETCD, Version(3, 6, 16), "amd64")
KUBE_TARGET = Target(KUBERNETES, Version(1, 36, 3), "amd64")
ETCD_ONLY = ("--only", "etcd", "--etcd-version", "3.6.16", "--arch", "amd64")
FETCH = ("fetch", "--version", "1.36.3", "--arch", "amd64", "--source")


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as site:
        site.publish(ETCD_TARGET, {name: f"#!/bin/sh\necho {name}\n".encode() for name in ETCD.binaries})
        site.publish(KUBE_TARGET, dict.fromkeys(KUBERNETES.binaries, b'#!/bin/sh\necho "${0##*/}"\n'))
        yield site


class Machine:
    """A user with an own cache."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def start(self, *args: str) -> subprocess.Popen[str]:
        env = os.environ | {"XDG_CACHE_HOME": str(self.home)}
        argv = [sys.executable, "-m", "cpkit", "artifacts", *args]
        return subprocess.Popen(argv, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *args: str, code: int = 0) -> tuple[str, str]:
        process = self.start(*args)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        return out, err

    def binary(self, target: Target, name: str) -> Path:
        version = f"v{target.version}/linux-{target.arch}"
        return self.home / "cpkit/artifacts" / target.product.name / version / name


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "here")


@pytest.fixture
def other(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "there")


def test_fetch_list_and_verify(site: Site, machine: Machine) -> None:
    assert "empty" in machine.run("list")[0]
    out, _ = machine.run(*FETCH, site.url)
    assert "Kubernetes 1.36.3 (linux/amd64): 5 binaries" in out
    assert "etcd 3.6.16 (linux/amd64): 3 binaries" in out
    assert subprocess.check_output([machine.binary(KUBE_TARGET, "kubeadm")], text=True) == "kubeadm\n"
    listed = json.loads(machine.run("list", "-o", "json")[0])
    assert [(item["product"], item["origin"]["place"]) for item in listed] == [
        ("etcd", site.url),
        ("kubernetes", site.url),
    ]
    assert "etcdctl" in machine.run("list")[0]
    assert "as fetched" in machine.run("verify")[0]


def test_verify_finds_a_flipped_byte_under_an_unchanged_time_and_drops_it(site: Site, machine: Machine) -> None:
    machine.run("fetch", *ETCD_ONLY, "--source", site.url)
    path = machine.binary(ETCD_TARGET, "etcdctl")
    stat = path.stat()
    body = bytearray(path.read_bytes())
    body[3] ^= 1
    path.write_bytes(body)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    out, err = machine.run("verify", code=1)
    assert "etcdctl hashes to" in out
    assert "--drop" in err
    damaged = json.loads(machine.run("verify", "-o", "json", "--drop", code=1)[0])
    assert len(damaged[0]["problems"]) == 1
    assert not path.exists()
    machine.run("fetch", *ETCD_ONLY, "--source", site.url)
    assert "as fetched" in machine.run("verify")[0]


@pytest.mark.parametrize("bundle", ["bundle", "bundle.tar", "bundle.tar.xz"])
def test_an_exported_bundle_serves_another_machine(
    site: Site, machine: Machine, other: Machine, tmp_path: Path, bundle: str
) -> None:
    path = str(tmp_path / bundle)
    machine.run("export", "--version", "1.36.3", "--arch", "amd64", "--source", site.url, path)
    asked = site.requests.total()
    other.run(*FETCH, path)
    assert site.requests.total() == asked
    for target in (ETCD_TARGET, KUBE_TARGET):
        for name in target.product.binaries:
            assert other.binary(target, name).read_bytes() == machine.binary(target, name).read_bytes()
    assert "as fetched" in other.run("verify")[0]
    _, err = other.run("fetch", "--version", "1.37.2", "--arch", "amd64", "--source", path, code=1)
    assert "This bundle holds etcd 3.6.16 (amd64), kubernetes 1.36.3 (amd64)." in err


def test_a_bundle_has_the_layout_of_a_mirror_and_the_version_table(
    site: Site, machine: Machine, other: Machine, tmp_path: Path
) -> None:
    root = tmp_path / "bundle"
    machine.run("export", "--arch", "amd64", "--source", site.url, str(root))
    assert (root / "release/v1.36.3/bin/linux/amd64/kubectl.sha256").is_file()
    assert (root / "etcd/v3.6.16/linux/amd64/etcdutl").is_file()
    manifest = json.loads((root / "cpkit-bundle.json").read_text())
    assert manifest["versions"]["1.36"]["etcd"] == "3.6.16"
    # The same tree behind a web server is a mirror.
    for path in root.rglob("*"):
        if path.is_file():
            site.files[f"/copy/{path.relative_to(root)}"] = path.read_bytes()
    other.run(*FETCH, f"{site.url}/copy/")
    assert other.binary(KUBE_TARGET, "kubectl").exists()


def test_a_tar_holds_one_program_once(site: Site, machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar"
    machine.run("export", "--arch", "amd64", "--source", site.url, str(path))
    with tarfile.open(path) as tar:
        programs = [member for member in tar if member.name.startswith("release/") and "sha256" not in member.name]
    assert [member.islnk() for member in programs] == [False, True, True, True, True]


def test_a_truncated_bundle_is_refused(site: Site, machine: Machine, other: Machine, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.xz"
    machine.run("export", "--arch", "amd64", "--source", site.url, str(path))
    path.write_bytes(path.read_bytes()[:-600])
    _, err = other.run(*FETCH, str(path), code=1)
    assert "cannot be unpacked" in err
    assert "empty" in other.run("list")[0]


def test_a_changed_file_in_a_bundle_is_refused(site: Site, machine: Machine, other: Machine, tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    machine.run("export", "--arch", "amd64", "--source", site.url, str(root))
    (root / "etcd/v3.6.16/linux/amd64/etcd").write_text("changed")
    _, err = other.run("fetch", *ETCD_ONLY, "--source", str(root), code=1)
    assert "etcd has the wrong checksum" in err
    assert "empty" in other.run("list")[0]


def test_two_fetches_at_once_download_once(site: Site, machine: Machine) -> None:
    slow = site.path(ETCD_TARGET, "etcd")
    site.trickle[slow] = 0.05
    both = [machine.start("fetch", *ETCD_ONLY, "--source", site.url) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert site.requests[slow] == 1
    assert sum("Another cpkit is fetching etcd 3.6.16 (linux/amd64); waiting for it" in err for _, err in outputs) == 1


def test_a_killed_fetch_is_taken_up_again(site: Site, machine: Machine) -> None:
    slow = site.path(ETCD_TARGET, "etcd")
    site.silent_after[slow] = 10
    process = machine.start("fetch", *ETCD_ONLY, "--source", site.url)
    while not site.requests[slow] and process.poll() is None:
        site.released.wait(0.02)
    process.kill()
    process.communicate(timeout=10)
    assert "empty" in machine.run("list")[0]
    del site.silent_after[slow]
    machine.run("fetch", *ETCD_ONLY, "--source", site.url)
    assert "as fetched" in machine.run("verify")[0]


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (("fetch", "--version", "1.30.0"), 2, "Kubernetes 1.30 is not supported"),
        (("fetch", "--version", "banana"), 2, "'banana' is not a version"),
        (("fetch", "--etcd-version", "3.5.0"), 2, "etcd 3.5.0 is older than 3.6.11"),
        (("fetch", "--source", "/does/not/exist"), 2, "does not exist"),
        (("fetch", "--source", "http://127.0.0.1:9"), 1, "cannot reach 127.0.0.1"),
        (("fetch", "--source", "http://mirror:eighty"), 1, "Check the address"),
    ],
)
def test_bad_input_is_told_without_a_traceback(machine: Machine, args: tuple[str, ...], code: int, text: str) -> None:
    _, err = machine.run(*args, code=code)
    assert text in err
    assert "Traceback" not in err


def test_a_cache_that_cannot_be_written_is_told(site: Site, machine: Machine) -> None:
    machine.home.write_text("a file where the cache should be")
    _, err = machine.run("fetch", *ETCD_ONLY, "--source", site.url, code=1)
    assert "Traceback" not in err
    assert "XDG_CACHE_HOME" in err
