"""Recover: a cluster that has lost quorum for good is rebuilt from the survivor that has seen most.

It is a backup of that survivor, for a snapshot needs no quorum, and a restore of that backup: each half is proven, and
is taken up again by the same command; all old data is moved aside.
"""

import time
from dataclasses import asdict, dataclass, field

from cpkit import ansible
from cpkit.backup import Opening, Sealing, Sidecar, catalogue, open_store
from cpkit.backup.moment import Wish
from cpkit.errors import Refused
from cpkit.facts.collect import collect
from cpkit.facts.ground import survey
from cpkit.health.loss import Loss, describe, loss, refuse_avoidable
from cpkit.inventory import Cluster
from cpkit.journal import open_run
from cpkit.operations import backup, restore
from cpkit.operations.listener import Confirm, Listener, WatchFactory, stepping
from cpkit.operations.members import refuse_locked
from cpkit.operations.restore_run import Options as Restore
from cpkit.operations.restore_run import Result
from cpkit.operations.restore_under_way import named, under_way

LOOKS, PAUSE = 3, 4.0  # an election that takes long is no loss
PATIENCE = 15.0  # seconds for a look; a machine with much to do is no loss either


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    location: str
    sealing: Sealing = field(repr=False)
    opening: Opening = field(repr=False)
    rebuild: bool = False
    dry_run: bool = False
    become_password: str = field(default="", repr=False)


def recover(
    cluster: Cluster, options: Options, listener: Listener, *, confirm: Confirm, watch: WatchFactory
) -> Result | None:
    """Rebuild a cluster from its most advanced survivor, or go on with that; None for a dry run."""
    ansible.program()
    begun = under_way(survey(cluster, ()))
    if begun:
        name, revision = named(begun.backup)
        with open_store(options.location) as store:
            base = catalogue.find(store, name)
        return _restore(cluster, options, base, listener, confirm, watch, Wish(revision))
    refuse_locked(cluster)
    with open_run(cluster.name, "etcd-recover") as run:
        step = stepping(run, listener)
        with step("Prove that quorum is lost"):
            found = _proven(cluster, listener)
            if not options.rebuild:
                refuse_avoidable(found)
        run.report(loss=asdict(found), dry_run=options.dry_run)
        plan = describe(found)
        if options.dry_run:
            listener.say(plan)
            return None
        if not confirm(plan):
            raise Refused("not confirmed", hint="Nothing was changed.")
    wanted = backup.Options(options.location, options.sealing, found.survivors[0].node)
    taken = backup.backup(cluster, wanted, listener)
    return _restore(cluster, options, taken.sidecar, listener, lambda _: True, watch, Wish())


def _proven(cluster: Cluster, listener: Listener) -> Loss:
    """The loss as it is when it was seen several times in a row."""
    found = loss(collect(cluster, deadline=PATIENCE))
    for _ in range(LOOKS - 1):
        listener.status(found.words)
        time.sleep(PAUSE)
        found = loss(collect(cluster, deadline=PATIENCE))
    return found


def _restore(
    cluster: Cluster,
    options: Options,
    base: Sidecar,
    listener: Listener,
    confirm: Confirm,
    watch: WatchFactory,
    wish: Wish,
) -> Result:
    wanted = Restore(options.location, base, options.opening, become_password=options.become_password, wish=wish)
    return restore.restore(cluster, wanted, listener, confirm=confirm, watch=watch)
