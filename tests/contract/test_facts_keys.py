"""What the agent tells of the keys that lie on a node, and never the keys themselves."""

import base64
import json
import secrets
from pathlib import Path

import pytest

from cpkit.facts.agent import keys as on_node
from cpkit.facts.agent.certificates import embedded
from cpkit.pki.authorities import encryption_configuration
from cpkit.pki.keys import PrivateKey, key_to_pem, new_key, public_to_pem


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(on_node, "CONFIG", str(tmp_path))
    monkeypatch.setattr(on_node, "PKI", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module", params=["ecdsa-p256", "rsa-2048"])
def keys(request: pytest.FixtureRequest) -> tuple[PrivateKey, PrivateKey]:
    return new_key(request.param), new_key(request.param)


@pytest.mark.parametrize("state", ["match", "mismatch", "absent"])
def test_the_service_account_key_is_compared_with_its_public_half(
    folder: Path, keys: tuple[PrivateKey, PrivateKey], state: str
) -> None:
    key, other = keys
    (folder / "sa.pub").write_text(public_to_pem(key))
    if state != "absent":
        (folder / "sa.key").write_text(key_to_pem(key if state == "match" else other))
    found = on_node.keys()[f"{folder}/sa.key"]
    assert found["state"] == state
    assert found["fingerprint"]


def test_encryption_keys_are_told_apart_without_being_told(folder: Path) -> None:
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    (folder / "encryption.yaml").write_text(encryption_configuration(secret))
    found = on_node.keys()
    assert list(found) == [f"{folder}/encryption.yaml#key1"]
    assert secret[:8] not in json.dumps(found)
    (folder / "encryption.yaml").write_text(encryption_configuration(base64.b64encode(b"0" * 32).decode()))
    assert on_node.keys() != found


def test_of_two_encryption_keys_with_one_name_that_of_the_first_provider_is_told(folder: Path) -> None:
    text = encryption_configuration("b2xk")
    (folder / "encryption.yaml").write_text(text)
    found = on_node.keys()
    other = "      - aescbc:\n          keys:\n            - name: key1\n              secret: b3RoZXI=\n"
    (folder / "encryption.yaml").write_text(text.replace("      - identity", f"{other}      - identity"))
    assert on_node.keys() == found


def test_what_a_kubeconfig_embeds_is_read_and_what_it_names_is_not(folder: Path) -> None:
    parts = {"certificate-authority": b"ca", "client-certificate": b"crt", "client-key": b"key"}
    lines = [f"    {name}-data: {base64.b64encode(value).decode()}" for name, value in parts.items()]
    (folder / "admin.conf").write_text("\n".join(["clusters:", *lines]))
    assert embedded(f"{folder}/admin.conf") == parts
    (folder / "admin.conf").write_text("    client-certificate: /a/file.crt\n")
    assert set(embedded(f"{folder}/admin.conf").values()) == {b""}
