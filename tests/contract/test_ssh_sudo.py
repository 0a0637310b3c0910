"""Becoming root on a real machine's sudo.

The server runs in a mount namespace of its own, over copies of /etc/passwd, /etc/shadow and sudo's rules: users with
every kind of rule exist there and nowhere else.
"""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpkit.ssh import Completed, Connection, SudoRefused, connect
from cpkit.ssh.pouring import pour
from tests.contract.sshd import Sshd, sshd

PASSWORD = "correct horse"
RULES = {
    "trusted": "NOPASSWD: ALL",
    "asked": "ALL",
    "mixed": "ALL, NOPASSWD: /usr/bin/cat",
    "nobody-special": "",
}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a mount namespace with users of its own")


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    if shutil.which("sudo") is None:
        pytest.fail("sudo is missing; install it: apt-get install sudo")
    # Not under pytest's own directory, which only its user may enter: the users must reach their authorized_keys.
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        binds = " && ".join(f"mount --bind {shlex.quote(str(over))} {under}" for under, over in _covers(root).items())
        with sshd(root, prefix=("unshare", "--mount", "sh", "-c", f'{binds} && exec "$@"', "sh")) as server:
            yield server


def _covers(root: Path) -> dict[str, Path]:
    """What lies over the machine's own files: by path, a file that says the same and more."""
    argv = ["openssl", "passwd", "-6", "-stdin"]
    hashed = subprocess.run(argv, input=PASSWORD, capture_output=True, text=True, check=True).stdout.strip()
    passwd = "".join(f"{user}:x:{54000 + n}:65534::/:/bin/sh\n" for n, user in enumerate(RULES))
    shadow = "".join(f"{user}:{hashed}:19000:0:99999:7:::\n" for user in RULES)
    sudoers = "".join(f"{user} ALL=(ALL) {rule}\n" for user, rule in RULES.items() if rule)
    contents = {
        "/etc/passwd": (Path("/etc/passwd").read_text() + passwd, 0o644),
        "/etc/shadow": (Path("/etc/shadow").read_text() + shadow, 0o600),
        "/etc/sudoers": (sudoers, 0o440),
        # Without the pause that follows a wrong password.
        "/etc/pam.d/sudo": ("auth required pam_unix.so nodelay\naccount required pam_unix.so\n", 0o644),
    }
    covers = {}
    for target, (content, mode) in contents.items():
        covers[target] = root / Path(target).name
        covers[target].write_text(content)
        covers[target].chmod(mode)
    return covers


def user(server: Sshd, name: str, password: str = "") -> Connection:
    return connect(server.node(user=name, become_password=password))


def test_without_sudo_the_user_stays_who_it_is(server: Sshd) -> None:
    with user(server, "trusted") as connection:
        assert connection.run(["id", "-un"], timeout=5).stdout == b"trusted\n"
    with connect(server.node(user="trusted", become=False)) as connection:
        assert connection.run(["id", "-un"], sudo=True, timeout=5).stdout == b"trusted\n"


@pytest.mark.parametrize(("name", "password"), [("trusted", ""), ("trusted", PASSWORD), ("asked", PASSWORD)])
def test_becomes_root_and_passes_input_output_and_code(server: Sshd, name: str, password: str) -> None:
    with user(server, name, password) as connection:
        for _ in range(2):
            done = connection.run(["sh", "-c", "id -un; cat; exit 3"], stdin=b"input", sudo=True, timeout=5)
            assert (done.rc, done.stdout, done.stderr) == (3, b"root\ninput", b"")


def test_reads_files_of_root(server: Sshd) -> None:
    with user(server, "asked", PASSWORD) as connection:
        assert connection.read("/etc/sudoers", sudo=True, timeout=5) == (server.root / "sudoers").read_bytes()


@pytest.mark.parametrize("name", ["trusted", "mixed"])
def test_a_password_that_is_not_asked_for_never_becomes_input(server: Sshd, name: str) -> None:
    with user(server, name, PASSWORD) as connection:
        connection.run(["cat"], sudo=True, timeout=5)
        assert connection.run(["/usr/bin/cat"], stdin=b"input", sudo=True, timeout=5).stdout == b"input"


def test_the_password_shows_in_no_argument_list(server: Sshd) -> None:
    with user(server, "asked", PASSWORD) as connection:
        listed = connection.run(["sh", "-c", "cat /proc/[0-9]*/cmdline /proc/self/environ"], sudo=True, timeout=5)
        assert b"sudo" in listed.stdout
        assert PASSWORD.encode() not in listed.stdout


def test_a_missing_password_is_asked_for(server: Sshd) -> None:
    with (
        user(server, "asked") as connection,
        pytest.raises(SudoRefused, match="cp1: sudo asks asked for a password") as caught,
    ):
        connection.run(["true"], sudo=True, timeout=5)
    assert "--ask-become-pass" in caught.value.hint


def test_a_wrong_password_is_refused_before_the_input_is_sent(server: Sshd) -> None:
    with user(server, "asked", "wrong") as connection:
        with pytest.raises(SudoRefused, match="cp1: the sudo password was refused for user asked") as caught:
            connection.run(["cat"], stdin=PASSWORD.encode() + b"\n", sudo=True, timeout=5)
        assert "wrong" not in f"{caught.value} {caught.value.hint}"
        assert connection.run(["true"], timeout=5).rc == 0


@pytest.mark.parametrize("password", ["", PASSWORD])
def test_a_user_without_a_rule_is_told_so(server: Sshd, password: str) -> None:
    with user(server, "nobody-special", password) as connection, pytest.raises(SudoRefused) as caught:
        connection.run(["true"], sudo=True, timeout=5)
    assert "nobody-special" in caught.value.message


def feed(connection: Connection, argv: list[str], chunks: Iterator[bytes]) -> Completed:
    """Pour a stream into a command of root."""
    done = pour([connection.vessel(argv, timeout=10)], chunks, timeout=10)[connection.node.name]
    assert isinstance(done, Completed), done
    return done


@pytest.mark.parametrize(("name", "password"), [("trusted", ""), ("trusted", PASSWORD), ("asked", PASSWORD)])
def test_a_stream_becomes_the_input_of_a_command_of_root(server: Sshd, name: str, password: str) -> None:
    with user(server, name, password) as connection:
        done = feed(connection, ["sh", "-c", "id -u; cat"], iter([b"one ", b"", b"two"]))
    assert (done.rc, done.stdout) == (0, b"0\none two")


def test_a_stream_is_not_begun_when_sudo_refuses(server: Sshd) -> None:
    sent: list[bytes] = []

    def stream() -> Iterator[bytes]:
        sent.append(b"secret")
        yield b"secret"

    for name, password in (("asked", ""), ("asked", "wrong"), ("nobody-special", PASSWORD)):
        with user(server, name, password) as connection, pytest.raises(SudoRefused):
            feed(connection, ["cat"], stream())
    assert sent == []


def test_the_password_is_no_part_of_a_stream_to_a_command_that_needs_none(server: Sshd) -> None:
    with user(server, "mixed", PASSWORD) as connection:
        assert feed(connection, ["cat"], iter([b"data"])).stdout == b"data"
        assert feed(connection, ["tee"], iter([b"data"])).stdout == b"data"
