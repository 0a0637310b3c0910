"""Every stored object under the new key, in a real etcd, while others write to it."""

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from nacl.secret import SecretBox

from cpkit.errors import CpkitError
from cpkit.etcd import MemberClient, Row
from cpkit.facts.encryption import PAGE, encrypted_with, stored
from cpkit.operations.rewriting import Rewriter
from cpkit.pki.encryption import Key
from cpkit.pki.envelope import HEAD, resealer
from tests.contract.etcd_members import etcd_binary, loopback, wait_for_quorum

ALL = (b"/registry/", b"/registry0")
COUNT = 2 * PAGE + 7
OLD, NEW = (Key(f"key{number}", b64encode(bytes([number]) * 32).decode()) for number in (1, 2))


def sealed(number: int, content: bytes) -> bytes:
    return HEAD + b"key%d:" % number + SecretBox(bytes([number]) * 32).encrypt(content)


def opened(value: bytes) -> bytes:
    """What is sealed with the new key."""
    return SecretBox(bytes([2]) * 32).decrypt(value.removeprefix(HEAD + b"key2:"))


def key(number: int) -> bytes:
    return b"/registry/secrets/default/s%05d" % number


@pytest.fixture
def member(tmp_path: Path) -> Iterator[MemberClient]:
    """A member with many Secrets under the old key, one in the clear and one that hangs on a lease."""
    with loopback(etcd_binary(), tmp_path) as place:
        place.announce("cp1")
        started = place.start("cp1")
        wait_for_quorum(started)
        with closing(started.client()) as client:
            for number in range(COUNT):
                client.etcd3.put(key(number), sealed(1, b"content %d" % number))
            client.etcd3.put(key(COUNT), b"content %d" % COUNT)
            client.grant(77, 600)
            client.etcd3.put(key(COUNT + 1), sealed(1, b"content %d" % (COUNT + 1)), lease=77)
            yield client


@dataclass
class Crowd:
    """A member that others write to, right after a page was read and before anything of it is written."""

    client: MemberClient
    meddle: Callable[[MemberClient, Row], None]
    first: int = 10  # of ten that it writes to on each page
    met: list[bytes] = field(default_factory=list)

    def rows(self, start: bytes, end: bytes, *, revision: int, limit: int) -> tuple[Row, ...]:
        found = self.client.rows(start, end, revision=revision, limit=limit)
        for row in found[self.first : self.first + 10] if limit == PAGE else ():
            self.meddle(self.client, row)
            self.met.append(row.key)
        return found

    def replace(self, wanted: object, *, at_once: int = 1) -> Iterator[tuple[Row, int]]:
        return self.client.replace(wanted, at_once=at_once)  # type: ignore[arg-type]


@dataclass
class Api:
    """What is asked of the API, and told of the work."""

    why: str = ""
    meanwhile: Callable[[], object] = lambda: None  # what others do while it is read
    read: list[str] = field(default_factory=list)
    patched: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def unreadable(self, path: str) -> str:
        self.read.append(path)
        self.meanwhile()
        return self.why

    def status(self, text: str) -> None:
        self.told.append(text)

    def patch(self, paths: Iterable[str]) -> Iterator[None]:
        for path in paths:
            self.patched.append(path)
            yield


def rewriter(api: Api | None = None) -> Rewriter:
    api = api or Api()
    return Rewriter(resealer(NEW, [OLD]), api, api.unreadable, api, COUNT + 2)


def contents(member: MemberClient) -> Mapping[bytes, bytes]:
    rows = [row for page in stored(member, "secrets") for row in page]
    assert {encrypted_with(row.value) for row in rows} == {"key2"}
    return {row.key: opened(row.value) for row in rows}


def untouched() -> dict[bytes, bytes]:
    return {key(number): b"content %d" % number for number in range(COUNT + 2)}


def test_every_object_holds_what_it_held_and_has_a_revision_of_its_own(member: MemberClient) -> None:
    before = member.probe()
    work = rewriter()
    work.rewrite(member, "secrets")
    assert contents(member) == untouched()
    assert work.written == COUNT + 2
    rows = [row for page in stored(member, "secrets") for row in page]
    assert sorted(row.mod_revision for row in rows) == list(range(before + 1, before + COUNT + 3))
    rewriter().rewrite(member, "secrets")
    assert member.probe() == before + COUNT + 2, "what is written already costs nothing"


def test_a_lease_is_kept(member: MemberClient) -> None:
    rewriter().rewrite(member, "secrets")
    member.etcd3.revoke_lease(77)
    assert contents(member).keys() == untouched().keys() - {key(COUNT + 1)}


def test_what_others_write_meanwhile_stays(member: MemberClient) -> None:
    crowd = Crowd(member, lambda client, row: client.etcd3.put(row.key, sealed(1, b"new")))
    work = rewriter()
    work.rewrite(crowd, "secrets")
    assert len(crowd.met) >= 20
    assert contents(member) == untouched() | dict.fromkeys(crowd.met, b"new")
    assert work.written == COUNT + 2


def test_what_others_write_with_the_new_key_meanwhile_is_left_to_them(member: MemberClient) -> None:
    crowd = Crowd(member, lambda client, row: client.etcd3.put(row.key, sealed(2, b"new")))
    work = rewriter()
    work.rewrite(crowd, "secrets")
    assert contents(member) == untouched() | dict.fromkeys(crowd.met, b"new")
    assert work.written == COUNT + 2 - len(crowd.met)


def test_what_others_delete_meanwhile_stays_away(member: MemberClient) -> None:
    crowd = Crowd(member, lambda client, row: client.etcd3.delete(row.key))
    rewriter().rewrite(crowd, "secrets")
    assert contents(member).keys() == untouched().keys() - set(crowd.met)


def test_one_is_read_by_every_api_server_before_any_other_is_touched_and_put_back_if_it_cannot_be(
    member: MemberClient,
) -> None:
    before, api = member.rows(*ALL, revision=0, limit=0), Api("the API server of cp2 cannot read it (HTTP 500)")
    with pytest.raises(CpkitError, match=r"s00000 was written with the new key, and the API server of cp2 cannot"):
        rewriter(api).rewrite(member, "secrets")
    after = member.rows(*ALL, revision=0, limit=0)
    assert [(row.key, row.value) for row in after] == [(row.key, row.value) for row in before]
    assert api.read == ["/api/v1/namespaces/default/secrets/s00000"]


def test_what_others_write_while_it_is_tried_out_is_not_put_back(member: MemberClient) -> None:
    api = Api("cp2 cannot be asked for it", lambda: member.etcd3.put(key(0), sealed(2, b"new")))
    with pytest.raises(CpkitError, match="s00000 was written") as told:
        rewriter(api).rewrite(member, "secrets")
    assert told.value.hint.startswith("Somebody has written it since")
    (now,) = member.rows(key(0), key(0) + b"\0", revision=0, limit=1)
    assert opened(now.value) == b"new"


def test_put_back_is_what_was_there_just_before(member: MemberClient) -> None:
    crowd = Crowd(member, lambda client, row: client.etcd3.put(row.key, sealed(1, b"new")), first=0)
    with pytest.raises(CpkitError, match="s00000 was written") as told:
        rewriter(Api("cp2 cannot be asked for it")).rewrite(crowd, "secrets")
    assert told.value.hint.startswith("It was put back")
    (now,) = member.rows(key(0), key(0) + b"\0", revision=0, limit=1)
    assert SecretBox(bytes([1]) * 32).decrypt(now.value.removeprefix(HEAD + b"key1:")) == b"new"


def test_an_object_that_an_api_server_writes_first_is_no_trial(member: MemberClient) -> None:
    api = Api()
    crowd = Crowd(member, lambda client, row: client.etcd3.put(row.key, sealed(2, b"new")), first=0)
    rewriter(api).rewrite(crowd, "secrets")
    assert api.read == ["/api/v1/namespaces/default/secrets/s00010"]


def test_what_no_key_opens_is_asked_of_an_api_server(member: MemberClient) -> None:
    api = Api()
    member.etcd3.put(key(3), b"k8s:enc:aescbc:v1:key1:x")
    rewriter(api).rewrite(member, "secrets")
    assert api.patched == ["/api/v1/namespaces/default/secrets/s00003"]
    assert {encrypted_with(row.value) for page in stored(member, "secrets") for row in page} == {"key2", "aescbc:key1"}
