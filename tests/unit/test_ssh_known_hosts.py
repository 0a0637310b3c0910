import base64
import hashlib
import hmac
import subprocess
from pathlib import Path

from cpkit.ssh.known_hosts import HostKey, pinned
from tests.unit.cases import cases

ED = HostKey("ssh-ed25519", base64.b64encode(b"one").decode())
OTHER = HostKey("ssh-ed25519", base64.b64encode(b"two").decode())
RSA = HostKey("ssh-rsa", base64.b64encode(b"three").decode())


def hashed(name: str, salt: bytes = b"salt") -> str:
    digest = hmac.digest(salt, name.encode(), hashlib.sha1)
    return "|1|" + "|".join(base64.b64encode(part).decode() for part in (salt, digest))


@cases(
    ("names", "host", "port", "known"),
    [
        ("cp1", "cp1", 22, True),
        ("CP1", "cp1", 22, True),
        ("cp1", "CP1", 22, True),
        ("cp2", "cp1", 22, False),
        ("cp2,cp1", "cp1", 22, True),
        ("cp1", "cp1", 2222, False),
        ("[cp1]:2222", "cp1", 2222, True),
        ("[cp1]:2222", "cp1", 22, False),
        ("*.lab", "cp1.lab", 22, True),
        ("cp?", "cp1", 22, True),
        ("*.lab,!cp1.lab", "cp1.lab", 22, False),
        ("!cp1.lab,*.lab", "cp1.lab", 22, False),
        ("[*.lab]:2222", "cp1.lab", 2222, True),
        (hashed("cp1"), "cp1", 22, True),
        (hashed("[cp1]:2222"), "cp1", 2222, True),
        (hashed("cp2"), "cp1", 22, False),
        ("|1|broken", "cp1", 22, False),
        ("fd00::1", "fd00::1", 22, True),
    ],
)
def test_finds_a_host_by_its_name(tmp_path: Path, names: str, host: str, port: int, known: bool) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"# a comment\n\n{names} {ED.kind} {ED.blob} operator@laptop\nbroken line\n")
    assert pinned([file], host, port).judge(ED) == ("known" if known else "unknown")


def test_judges_a_key_by_what_is_pinned(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"cp1 {ED.kind} {ED.blob}\n@revoked * {RSA.kind} {RSA.blob}\n@cert-authority * {RSA.kind} x\n")
    found = pinned([file], "cp1", 22)
    assert found.kinds == {"ssh-ed25519"}
    assert found.judge(ED) == "known"
    assert found.judge(OTHER) == "changed"
    assert found.judge(HostKey("ecdsa-sha2-nistp256", ED.blob)) == "unknown"
    assert found.judge(RSA) == "revoked"


def test_several_files_hold_the_keys_together(tmp_path: Path) -> None:
    files = [tmp_path / "pinned", tmp_path / "absent", tmp_path / "own"]
    files[0].write_text(f"cp1 {ED.kind} {ED.blob}\n")
    files[2].write_text(f"cp1 {OTHER.kind} {OTHER.blob}\n")
    found = pinned(files, "cp1", 22)
    assert found.judge(ED) == found.judge(OTHER) == "known"


def test_fingerprint_is_the_one_openssh_prints(tmp_path: Path) -> None:
    blob = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
    (tmp_path / "key.pub").write_text(f"ssh-ed25519 {blob}\n")
    printed = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True)
    assert HostKey("ssh-ed25519", blob).fingerprint == printed.stdout.split()[1]
