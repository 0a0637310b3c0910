"""Reading: the agent's own parts, certificates, clocks and the meeting of the members' readers."""

import ast
import json
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from cpkit.facts import agent, preflight_agent, visit
from cpkit.facts.agent import asking, certificates, gathering, handshakes, units
from cpkit.facts.certificates import parse
from cpkit.facts.clock import MOST_SAMPLES, NARROW, Clock, narrowest, reading
from cpkit.facts.host import Pem
from cpkit.facts.meeting import Meeting
from tests.unit.cases import cases

FOREVER = datetime(2100, 1, 1, tzinfo=UTC)
Pair = tuple[str, ec.EllipticCurvePrivateKey]


def make(name: str, *, by: Pair | None = None, sans: tuple[str, ...] = ()) -> Pair:
    """A certificate and its key, signed by another pair or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = x509.load_pem_x509_certificate(by[0].encode()).subject if by else subject
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), 7, datetime(2020, 1, 1, tzinfo=UTC), FOREVER)
    if sans:
        names = x509.SubjectAlternativeName([x509.DNSName(san) for san in sans])
        builder = builder.add_extension(names, critical=False)
    signed = builder.sign(by[1] if by else key, SHA256())
    return signed.public_bytes(Encoding.PEM).decode(), key


def pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


CA, OTHER = make("ca"), make("other")
LEAF = make("leaf", by=CA, sans=("a.example",))
PKI = "/etc/kubernetes/pki"


@pytest.mark.parametrize("package", [agent, preflight_agent])
def test_an_agent_is_python_3_9_and_needs_nothing_installed(package: ModuleType) -> None:
    modules = sorted(Path(package.__path__[0]).glob("*.py"))
    names = {f"{package.__name__}.{path.stem}" for path in modules}
    assert f"{package.__name__}.program" in names
    for path in modules:
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert {name.split(".")[0] for name in imported - names} <= sys.stdlib_module_names


@pytest.mark.parametrize("role", ["load_balancer", "control_plane"])
def test_what_is_sent_runs_by_itself_and_tells_what_the_parser_takes(role: str) -> None:
    asked = {"role": role, "peers": {"cp2": "127.0.0.1"}, "data_dir": "/", "address": "127.0.0.1", "seconds": 2}
    done = run_agent(asked)
    assert (done.returncode, done.stderr) == (0, b"")
    visit.parser().validate_json(done.stdout)


def test_an_agent_that_fails_names_the_reason_last() -> None:
    done = run_agent({"role": "load_balancer"})
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == "KeyError: 'peers'"


def run_agent(asked: dict[str, object]) -> "subprocess.CompletedProcess[bytes]":
    argv = [sys.executable, "-IS", "-", json.dumps(asked)]
    return subprocess.run(argv, input=visit.agent(), capture_output=True, check=False, timeout=30)


def test_flags_are_digests_that_ignore_order_and_what_is_a_node_s_own() -> None:
    one = units.flags(b"kube-apiserver\0--advertise-address=10.0.0.1\0--etcd-servers=a,b\0--profiling=false\0")
    two = units.flags(b"kube-apiserver\0--advertise-address=10.0.0.2\0--etcd-servers=b,a\0--profiling=false\0")
    assert one == two
    assert set(one) == {"etcd-servers", "profiling"}
    assert "false" not in one.values()


def test_a_signing_key_is_missed_by_those_who_are_to_sign(tmp_path: Path) -> None:
    key = tmp_path / "ca.key"
    unit = f"ExecStart=/opt/x \\\n  --cluster-signing-key-file={key} \\\n  --controllers=*,tokencleaner{{off}} \\\n"
    assert units.missing_key(unit.format(off="")) == str(key)
    for off in (",-csrsigning", ",-certificatesigningrequest-signing-controller,bootstrapsigner"):
        assert units.missing_key(unit.format(off=off)) == ""
    assert units.missing_key(unit.format(off=",-csrcleaner")) == str(key)
    key.touch()
    assert units.missing_key(unit.format(off="")) == ""
    assert units.missing_key("ExecStart=/opt/x --controllers=*") == ""


@pytest.mark.parametrize(
    ("path", "version"),
    [("/opt/cpkit/etcd/3.6.16/etcd", "3.6.16"), ("/opt/cpkit/etcd/3.6.16", "3.6.16"), ("/usr/bin/etcd", "")],
)
def test_versions_are_read_from_paths(path: str, version: str) -> None:
    assert units.version_in(path) == version


def test_chunked_bodies_are_joined() -> None:
    assert asking.joined(b"4\r\nabcd\r\n3\r\nefg\r\n0\r\n\r\n") == b"abcdefg"


@cases(
    ("answer", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\nContent-Length: 3\r\n\r\n", False),
    ],
)
def test_an_answer_is_whole_when_it_is_as_long_as_it_says(answer: bytes, whole: bool) -> None:
    assert asking.complete(answer) is whole


def test_a_key_is_tied_to_its_certificate_without_touching_a_disk() -> None:
    assert certificates.pair(LEAF[0].encode(), pem_of(LEAF[1])) == "match"
    assert certificates.pair(LEAF[0].encode(), pem_of(CA[1])) == "mismatch"
    assert certificates.pair(LEAF[0].encode(), b"rubbish") == "unreadable"


def test_a_fact_that_fails_or_is_late_is_missing_and_hides_no_other() -> None:
    never = threading.Event()
    facts, missing = gathering.gather(
        {
            ("good", ""): lambda: 1,
            ("parts", "a"): lambda: 2,
            ("parts", "b"): lambda: 1 / 0,
            ("late", ""): lambda: never.wait(30),
        },
        seconds=0.1,
    )
    never.set()
    assert facts == {"good": 1, "parts": {"a": 2}}
    assert set(missing) == {"parts:b", "late"}
    assert missing["parts:b"] == "ZeroDivisionError: division by zero"


def test_a_server_that_never_answers_costs_no_more_than_the_agent_s_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            asking.get(server.getsockname()[1], "/metrics")
        assert time.monotonic() - began < 2


def test_a_port_that_is_shut_is_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert handshakes.dial("127.0.0.1", port) == "Connection refused"


def test_certificates_are_tied_to_the_ca_file_that_signed_them() -> None:
    found = parse(
        (
            Pem(f"{PKI}/ca.crt", CA[0], "match"),
            Pem(f"{PKI}/etcd/ca.crt", OTHER[0], "absent"),
            Pem(f"{PKI}/apiserver.crt", LEAF[0], "match"),
            Pem(f"{PKI}/scheduler.crt", make("stray")[0], "mismatch"),
            Pem(f"{PKI}/broken.crt", "nothing", "absent"),
        )
    )
    by_path = {each.path.removeprefix(f"{PKI}/"): each for each in found}
    assert by_path["apiserver.crt"].signed_by == f"{PKI}/ca.crt"
    assert by_path["apiserver.crt"].sans == ("a.example",)
    assert by_path["apiserver.crt"].not_after == FOREVER.timestamp()
    assert by_path["etcd/ca.crt"].signed_by == f"{PKI}/etcd/ca.crt"
    assert by_path["scheduler.crt"].signed_by == ""
    assert by_path["broken.crt"].error


def test_every_ca_of_a_bundle_is_kept_and_any_of_them_may_have_signed() -> None:
    found = parse((Pem(f"{PKI}/ca.crt", OTHER[0] + CA[0]), Pem(f"{PKI}/apiserver.crt", LEAF[0])))
    assert [(each.subject, each.signed_by) for each in found] == [
        ("CN=other", f"{PKI}/ca.crt"),
        ("CN=ca", f"{PKI}/ca.crt"),
        ("CN=leaf", f"{PKI}/ca.crt"),
    ]


@pytest.mark.parametrize("offset", [-100.0, 0.0, 0.3])
def test_the_true_offset_of_a_clock_lies_within_the_error(offset: float) -> None:
    sent, began, ended, back = 1000.0, 1000.2, 1000.5, 1000.55
    seen = reading((began + offset, ended + offset), sent, back)
    assert abs(seen.offset - offset) <= seen.error
    assert seen.error == pytest.approx((0.2 + 0.05) / 2)


@cases(
    ("errors", "kept", "taken"),
    [
        ([NARROW], 0, 1),
        ([0.2, NARROW, 0.001], 1, 2),
        ([0.2, 0.1, 0.3], 1, 3),
        ([0.1, 0.1], 0, 2),
        ([1.0 - i / 100 for i in range(MOST_SAMPLES + 1)], MOST_SAMPLES - 1, MOST_SAMPLES),
        ([0.1] + [0.2] * MOST_SAMPLES, 0, MOST_SAMPLES),
    ],
)
def test_the_narrowest_sample_of_a_clock_is_kept_and_none_taken_in_vain(
    errors: list[float], kept: int, taken: int
) -> None:
    left = iter([Clock(float(number), error) for number, error in enumerate(errors)])
    assert narrowest(left) == Clock(float(kept), errors[kept])
    assert len(errors) - len(list(left)) == taken


def test_the_readers_agree_on_the_lowest_revision() -> None:
    meeting = Meeting(("cp1", "cp2", "cp3"), patience=30)
    for name, revision in (("cp1", 12), ("cp2", None), ("cp3", 10)):
        meeting.bring(name, revision)
    assert meeting.agree() == 10


def test_a_reader_that_does_not_come_is_not_waited_for_and_takes_what_was_decided() -> None:
    meeting = Meeting(("cp1", "cp2"), patience=0.02)
    meeting.bring("cp1", 12)
    assert meeting.agree() == 12
    meeting.bring("cp2", 9)
    assert meeting.agree() == 12


def test_only_the_first_word_of_a_member_counts() -> None:
    meeting = Meeting(("cp1",), patience=30)
    meeting.bring("cp1", None)
    meeting.bring("cp1", 5)
    assert meeting.agree() is None
