import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cpkit.backup import Identities, Passphrase, Recipients, open_store
from cpkit.backup.catalogue import now, write
from cpkit.backup.keys import make_identity, private, read_identities
from cpkit.backup.manifest import Sidecar, Verification
from cpkit.cli.backup import app
from cpkit.cli.backup_options import Seal, opening, sealing
from cpkit.cli.backup_view import age, size
from cpkit.errors import CpkitError, UsageError
from tests.unit.sidecars import sidecar

RECIPIENT = "age1c5pxfq5evhgrn70sejxxvskwk52wvwtgdw923sfrvazqeallma3qx7y0p5"


@pytest.fixture(autouse=True)
def no_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CPKIT_INVENTORY", raising=False)


def run(*words: str) -> Result:
    done = CliRunner().invoke(app, list(words))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def put(folder: Path, *, days: float, verified: bool = False) -> Sidecar:
    created = now() - timedelta(days=days)
    proofs = (Verification(created, "read", "somebody"),) if verified else ()
    item = sidecar(created, int(1000 - days), verified=proofs)
    folder.mkdir(exist_ok=True)
    (folder / item.object).write_bytes(bytes(item.size))
    with open_store(str(folder)) as store:
        write(store, item)
    return item


def test_a_key_is_for_its_owner_alone_and_never_takes_a_files_place(tmp_path: Path) -> None:
    file = tmp_path / "backup.key"
    recipient = run("key", str(file)).stdout.strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert recipient.startswith("age1")
    assert str(private(read_identities(file))[0].to_public()) == recipient  # type: ignore[union-attr]
    held = file.read_text()
    with pytest.raises(UsageError, match="is there already"):
        run("key", str(file))
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CpkitError):
        run("key", str(tmp_path / "link"))
    assert file.read_text() == held


def test_what_is_listed(tmp_path: Path) -> None:
    assert "holds no backup" in run("list", "--store", str(tmp_path / "store")).stdout
    older, newer = put(tmp_path / "store", days=3, verified=True), put(tmp_path / "store", days=0)
    (tmp_path / "store" / ".partial-1").write_bytes(b"half")
    (tmp_path / "store" / "notes.txt").write_text("of somebody else")
    printed = run("list", "--store", str(tmp_path / "store")).stdout
    assert printed.index(newer.name) < printed.index(older.name)
    assert "read back 3 d ago" in printed
    assert ".partial-1" in printed
    assert "notes" not in printed
    told = json.loads(run("list", "--store", str(tmp_path / "store"), "-o", "json").stdout)
    assert [each["revision"] for each in told["backups"]] == [1000, 997]
    shown = json.loads(run("show", "latest", "--store", str(tmp_path / "store"), "-o", "json").stdout)
    assert shown == told["backups"][0]
    assert older.name in run("show", older.name, "--store", str(tmp_path / "store")).stdout


def test_pruning_asks_and_tells_and_keeps(tmp_path: Path) -> None:
    store = tmp_path / "store"
    made = [put(store, days=days, verified=days == 5) for days in (0, 1, 5, 9)]
    with pytest.raises(UsageError, match="no rule"):
        run("prune", "--store", str(store), "--yes")
    assert "delete" in run("prune", "--store", str(store), "--keep-last", "1", "--dry-run").stdout
    with pytest.raises(UsageError, match="nobody is there"):
        run("prune", "--store", str(store), "--keep-last", "1")
    assert len(list(store.iterdir())) == 8
    run("prune", "--store", str(store), "--keep-last", "1", "--yes")
    assert {path.name.rpartition(".")[0] for path in store.iterdir()} == {made[0].name, made[2].name}


def test_without_a_store_or_a_name_nothing_is_guessed() -> None:
    for words in (["list"], ["show", "latest"], ["verify", "latest"], ["prune", "--keep-last", "1"]):
        with pytest.raises(UsageError, match="no store"):
            run(*words)
    for words in (["verify"], ["verify", "latest", "--all"]):
        with pytest.raises(UsageError, match="name a backup"):
            run(*words, "--store", "/nowhere")


def test_what_a_backup_is_sealed_with(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text(f"# somebody\n{RECIPIENT}\n\n{RECIPIENT}\n")

    def told(configured: tuple[str, ...] = (), **options: Any) -> object:
        return sealing(configured, Seal(**options))

    other = make_identity(tmp_path / "other.key")
    assert told((RECIPIENT,)) == told(recipients_file=file) == told(recipient=[RECIPIENT]) == Recipients((RECIPIENT,))
    assert told((RECIPIENT,), recipient=[other]) == Recipients((other,))
    assert told((RECIPIENT,), no_encrypt=True) is None
    (tmp_path / "words").write_text("correct horse\nanother line\n")
    assert told(passphrase_file=tmp_path / "words") == Passphrase("correct horse")
    for wrong in (
        {},
        {"recipient": [RECIPIENT], "no_encrypt": True},
        {"passphrase_file": tmp_path / "words", "no_encrypt": True},
        {"recipient": ["age1x"]},
        {"recipient": [(tmp_path / "other.key").read_text().splitlines()[1]]},
        {"recipients_file": tmp_path / "missing"},
        {"passphrase_file": tmp_path / "other.key", "recipient": [RECIPIENT]},
    ):
        with pytest.raises(UsageError) as caught:
            told(**wrong)
        assert "SECRET-KEY" not in str(caught.value)
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UsageError, match="no passphrase"):
        told(passphrase_file=tmp_path / "empty")


def test_what_a_backup_is_opened_with(tmp_path: Path) -> None:
    make_identity(tmp_path / "key")
    assert isinstance(opening((), tmp_path / "key", None), Identities)
    (tmp_path / "words").write_text("correct horse\n")
    assert opening((), None, tmp_path / "words") == Passphrase("correct horse")
    assert opening((), None, None) is None
    for identity in (tmp_path / "words", tmp_path / "missing"):
        with pytest.raises(UsageError):
            opening((), identity, None)
    with pytest.raises(UsageError, match="exclude one another"):
        opening((), tmp_path / "key", tmp_path / "words")


def test_secrets_do_not_show(tmp_path: Path) -> None:
    make_identity(tmp_path / "key")
    identity = read_identities(tmp_path / "key")
    assert "SECRET" not in repr(identity)
    assert "horse" not in repr(Passphrase("correct horse"))


def test_amounts_and_ages() -> None:
    assert [size(count) for count in (5, 99_999, 100_000, 276_000_000)] == ["5 B", "99999 B", "0.1 MB", "276.0 MB"]
    ages = [age(now() - timedelta(seconds=seconds)) for seconds in (5, 200, 90_00, 200_000)]
    assert [text.split()[1] for text in ages] == ["s", "min", "h", "d"]
    assert age(now() + timedelta(days=1)) == "in the future"
