import pytest

from cpkit.backup.majority import refuse_minority
from cpkit.backup.manifest import Hash
from cpkit.backup.source import choose
from cpkit.errors import Refused, Unreachable
from tests.unit.health_snapshots import Raw, Spoil, captured, document, spoiled


def leader_of(raw: Raw) -> str:
    statuses = raw["etcd"]["statuses"]
    return next(str(name) for name, status in statuses.items() if status["leader"] == status["id"])


def followers(raw: Raw) -> list[str]:
    return [name for name in raw["etcd"]["statuses"] if name != leader_of(raw)]


def change(which: int, **fields: object) -> Spoil:
    """Change the status of a follower, or of the leader (-1)."""

    def spoil(raw: Raw) -> None:
        name = leader_of(raw) if which < 0 else followers(raw)[which]
        raw["etcd"]["statuses"][name].update(fields)

    return spoil


def both(**fields: object) -> tuple[Spoil, Spoil]:
    return change(0, **fields), change(1, **fields)


def test_a_follower_is_preferred_and_the_one_that_answers_sooner() -> None:
    names = followers(document("healthy")["snapshot"])
    for sooner in (0, 1):
        choice = choose(spoiled(change(sooner, seconds=0.1), change(1 - sooner, seconds=0.5), change(-1, seconds=0.0)))
        assert choice.node == names[sooner]
        assert choice.quorum
        assert not choice.leader


@pytest.mark.parametrize(
    "fields",
    [
        {"learner": True},
        {"applied": 1},
        {"alarms": ["CORRUPT"]},
        {"error": "no answer"},
        {"linearizable": "no answer within 2 s"},
    ],
)
def test_a_follower_that_is_not_fit_is_left_alone(fields: dict[str, object]) -> None:
    assert not choose(spoiled(change(0, **fields))).leader
    assert choose(spoiled(change(0, **fields))).node == choose(spoiled(change(0, error="gone"))).node
    alone = choose(spoiled(*both(**fields)))
    assert alone.leader
    assert alone.reason == "the leader, for no other voter is caught up"


def test_a_member_that_holds_other_keys_than_the_majority_is_left_alone() -> None:
    for which in (0, 1):
        spoilt = spoiled(change(which, hash=1))
        assert spoilt.etcd.statuses[choose(spoilt).node].hash != 1
    with pytest.raises(Refused, match="holds other keys"):
        choose(spoiled(change(0, hash=1), change(1, hash=2), change(-1, hash=3)))


def test_hashes_of_different_histories_are_not_compared() -> None:
    spoilt = spoiled(change(0, hash=1, compacted=77, seconds=0.0))
    assert spoilt.etcd.statuses[choose(spoilt).node].hash == 1


def test_without_quorum_it_is_the_survivor_that_has_seen_most() -> None:
    lost: dict[str, object] = {"leader": "", "linearizable": "no leader"}
    choice = choose(spoiled(change(0, applied=400, **lost), change(1, applied=450, **lost), change(-1, error="gone")))
    assert not choice.quorum
    assert choice.status.applied == 450
    assert "no quorum" in choice.reason
    elected = change(0, applied=400, terms=[9], **lost), change(1, applied=450, terms=[2], **lost)
    newer_term = choose(spoiled(*elected, change(-1, error="gone")))
    assert newer_term.status.terms == (9,)


def test_captured_clusters() -> None:
    assert choose(captured("healthy")).quorum
    assert choose(captured("one_off")).quorum
    assert not choose(captured("two_off")).quorum
    frozen = captured("etcd_frozen")
    assert not frozen.etcd.statuses[choose(frozen).node].error


def test_nobody_to_ask_is_unknown_and_not_refused() -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        choose(spoiled(change(-1, error="gone"), *both(error="gone")))


def test_a_named_member_is_taken_if_it_is_fit() -> None:
    name = followers(document("healthy")["snapshot"])[1]
    assert choose(captured("healthy"), only=name).node == name
    with pytest.raises(Refused, match="is a learner"):
        choose(spoiled(change(1, learner=True)), only=name)
    with pytest.raises(Refused, match="no control-plane node"):
        choose(captured("healthy"), only="lb1")


def test_members_that_the_look_has_compared_need_not_be_hashed_again() -> None:
    assert choose(captured("healthy")).compared
    assert choose(captured("one_off")).compared, "two of three are most of them"
    assert not choose(captured("two_off")).compared
    assert not choose(spoiled(*both(hash=None))).compared
    assert not choose(spoiled(change(-1, hash=None), change(0, hash=None), change(1, hash=None))).compared
    assert not choose(spoiled(change(0, compacted=1), change(1, compacted=2))).compared, (
        "hashes of another history do not compare"
    )


def test_a_source_in_the_minority_at_the_backups_revision_is_refused() -> None:
    def hashes(*values: int) -> list[Hash]:
        return [Hash(f"cp{number}", value, 5, 1) for number, value in enumerate(values, 1)]

    refuse_minority("cp1", hashes(7, 7, 8))
    refuse_minority("cp1", [*hashes(7), Hash("cp2", 8, 5, 2)])  # another history is left there
    refuse_minority("cp9", hashes(7, 8, 9))  # its own is not known
    for values in ((8, 7, 7), (7, 8), (7, 8, 9)):
        with pytest.raises(Refused, match="other keys at revision 5"):
            refuse_minority("cp1", hashes(*values))
