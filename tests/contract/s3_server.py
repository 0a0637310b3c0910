"""A real S3 server on loopback, for tests: versitygw over a directory, built once from Go modules."""

import fcntl
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cpkit.artifacts import Silent, host_arch
from cpkit.artifacts.compiler import Compiler
from cpkit.artifacts.golang import suitable
from cpkit.paths import cache_dir

MODULE, VERSION, GO = "github.com/versity/versitygw", "v1.8.0", (1, 26)
START_SECONDS = 20.0


@dataclass(frozen=True)
class S3Server:
    """A running server, and who may use it."""

    root: Path
    port: int
    access: str
    secret: str

    def location(self, prefix: str, bucket: str = "backups") -> str:
        return f"s3://{bucket}/{prefix}?endpoint=http://127.0.0.1:{self.port}&region=us-east-1"

    def environment(self) -> dict[str, str]:
        """What a client's standard chain finds."""
        return {
            "AWS_ACCESS_KEY_ID": self.access,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def s3_server(root: Path) -> Iterator[S3Server]:
    """A server with the one bucket `backups`; it ends with the context."""
    binary = build()
    (root / "buckets" / "backups").mkdir(parents=True)
    (root / "meta").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = S3Server(root / "buckets", port, "tester", secrets.token_hex(16))
    env = os.environ | {"ROOT_ACCESS_KEY": server.access, "ROOT_SECRET_KEY": server.secret}
    log = (root / "log").open("wb")
    # Metadata in files of its own: not every file system has extended attributes.
    argv = [str(binary), "--port", f"127.0.0.1:{port}", "posix", "--sidecar", str(root / "meta"), str(server.root)]
    process = subprocess.Popen(argv, stdout=log, stderr=log, env=env)
    log.close()
    try:
        _wait(process, port, root / "log")
        yield server
    finally:
        process.terminate()
        process.wait(10)


def build() -> Path:
    """The server's binary, from the cache or from its modules; about two minutes, once."""
    home = cache_dir() / "test-servers" / f"versitygw-{VERSION}"
    binary = home / "versitygw"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            toolchain = suitable(GO, cache_dir() / "artifacts" / "tools", Silent())
            compiler = Compiler(toolchain, host_arch(), home, home / "build.log")
            (home / "go.mod").unlink(missing_ok=True)
            compiler.run("mod", "init", "cpkit.local/versitygw")
            compiler.run("get", f"{MODULE}/cmd/versitygw@{VERSION}")
            compiler.run("build", "-trimpath", "-ldflags", "-s -w", "-o", "versitygw.new", f"{MODULE}/cmd/versitygw")
            (home / "versitygw.new").rename(binary)
    return binary


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the S3 server did not start: {log.read_text()}")
            time.sleep(0.05)
        else:
            return
