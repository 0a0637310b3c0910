"""The way back from a restore that was cut off: to the data of before, until etcd has started on the new."""

from cpkit import ansible
from cpkit.errors import Refused
from cpkit.facts.ground import survey
from cpkit.inventory import Cluster
from cpkit.journal import open_run, owner
from cpkit.operations.listener import Confirm, Listener, stepping
from cpkit.operations.plays import Plays
from cpkit.operations.restore_proof import Proof
from cpkit.operations.restore_run import interruptible, limit
from cpkit.operations.restore_under_way import UnderWay, present, refuse_abort, under_way

BACK = "Go back to the old data"


def abort(
    cluster: Cluster,
    listener: Listener,
    *,
    confirm: Confirm,
    lost: frozenset[str] = frozenset(),
    become_password: str = "",
) -> UnderWay:
    """Go back to the old data from a restore that was cut off before etcd started on the new."""
    with open_run(cluster.name, "restore-abort") as run, interruptible(run, BACK):
        step = stepping(run, listener)
        with step("Look at the nodes"):
            grounds = survey(present(cluster, lost), ())
            found = refuse_abort(under_way(grounds), grounds)
        if not confirm(_words_back(cluster, found)):
            raise Refused("not confirmed", hint="Nothing was changed.")
        variables = {"claim_owner": owner(), "claim_during_restore": True, "etcd_restore_id": found.restore}
        variables["etcd_restore_lost"] = sorted(lost)
        play = ansible.Play(
            "restore_abort.yml",
            cluster.inventory,
            limit=limit(lost),
            variables=variables,
            become_password=become_password,
        )
        plays = Plays(run, listener)
        with step(BACK), plays.unlocked_at_a_failure(play):
            plays.apply(play)
        with step("Verify the cluster"):
            Proof(cluster, listener, lost).whole()
        run.report(restore=found.restore, backup=found.backup, stages=found.stages)
        return found


def _words_back(cluster: Cluster, found: UnderWay) -> str:
    told = "\n".join(f"  {name}  has come to: {stage or 'not begun'}" for name, stage in found.stages.items())
    return f"This goes back to the data {cluster.name} had before the restore of {found.backup}:\n{told}"
