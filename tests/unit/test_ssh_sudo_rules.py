import subprocess

import pytest

from cpkit.ssh import sudo
from tests.unit.cases import cases


@cases(
    ("stderr", "problem"),
    [
        ("sudo: a password is required", sudo.ASKS),
        ("sudo: unable to resolve host cp1: Name or service not known\nsudo: a password is required", sudo.ASKS),
        ("sudo: interactive authentication is required", sudo.ASKS),
        ("cat: /x: Permission denied", None),
        ("", None),
    ],
)
def test_tells_a_wish_for_a_password_from_a_failed_command(stderr: str, problem: sudo.Problem | None) -> None:
    assert sudo.problem(1, b"", stderr.encode()) is problem


@pytest.mark.parametrize(
    ("rc", "stderr", "text"),
    [
        (
            1,
            "cp is not in the sudoers file.\nThis incident has been reported.",
            "may not use sudo",
        ),
        (1, "Sorry, user cp is not allowed to execute '/bin/sh' as root on cp1.", "may not use sudo"),
        (1, "sudo: sorry, you must have a tty to run sudo", "wants a terminal"),
        (127, "env: 'sudo': No such file or directory", "not installed"),
    ],
)
def test_says_what_keeps_sudo_from_running(rc: int, stderr: str, text: str) -> None:
    found = sudo.problem(rc, b"", stderr.encode())
    assert found is not None
    assert text in found.text


def test_a_command_that_ran_is_never_taken_for_a_refusal() -> None:
    assert sudo.problem(0, b"", b"sudo: a password is required") is None
    assert sudo.problem(2, b"", b"sudo: a password is required") is None
    assert sudo.problem(1, b"output", b"sudo: a password is required") is None


def test_the_password_is_never_an_argument() -> None:
    line = sudo.with_password(["printf", "%s", "a b"])
    assert line.startswith("env LC_ALL=C sudo -k -S -p '' -- ")
    shown = subprocess.run(["sh", "-c", line.partition(" -- ")[2]], capture_output=True, text=True, check=True)
    assert shown.stdout == "a b"
