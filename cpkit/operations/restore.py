"""Restore: bring etcd back from a backup on all nodes at once, or go on from wherever an earlier run was cut off."""

from contextlib import ExitStack

from cpkit import ansible
from cpkit.backup import Bundle, Opening, Sidecar, Store, open_bundle, open_store
from cpkit.backup.parts import part_name
from cpkit.errors import Refused, Unreachable
from cpkit.facts.ground import survey
from cpkit.health import Finding
from cpkit.inventory import Cluster
from cpkit.journal import Run, open_run
from cpkit.operations.listener import Confirm, Listener, WatchFactory, stepping
from cpkit.operations.meter import Meter
from cpkit.operations.restore_fresh import build, unbuilt
from cpkit.operations.restore_moment import brought_to, wanted
from cpkit.operations.restore_objections import COMPARED, objections, settings
from cpkit.operations.restore_places import describe_places, misplaced, refuse_strangers
from cpkit.operations.restore_plan import describe
from cpkit.operations.restore_run import BRING, Checked, Options, Restoring, Result, interruptible, result
from cpkit.operations.restore_under_way import present, refuse_other, under_way

FRESH = """

  The machines are fresh: they get the backup's keys first, and a cluster is bootstrapped that adopts them."""

LOST = """

  Taken for lost: {}. Such a node must never come back with its old data. It stays a member; replace it afterwards."""


def restore(cluster: Cluster, options: Options, listener: Listener, *, confirm: Confirm, watch: WatchFactory) -> Result:
    """Restore a backup; nothing is stopped before everything was checked, and no step is half of one."""
    ansible.program()
    with open_store(options.location) as store, ExitStack() as held:
        refuse_strangers(options.places, options.backup)
        with open_run(cluster.name, "restore") as run, interruptible(run, BRING):
            checked = _check(cluster, options, listener, store, run, held)
            plan = describe(cluster, checked.bundle.manifest, checked.name, checked.grounds, checked.found)
            plan += describe_places(cluster, checked.bundle.manifest, options.places)
            plan += FRESH if checked.unbuilt else ""
            plan += LOST.format(", ".join(sorted(options.lost))) if options.lost else ""
            if options.dry_run:
                listener.say(plan)
                return result(run, checked, 0, (), "", ())
            if not confirm(plan):
                raise Refused("not confirmed", hint="Nothing was changed.")
            if not checked.unbuilt:
                return Restoring(cluster, options, listener, checked).carry_out(run, watch)
        build(cluster, checked.bundle, listener, watch=watch, become_password=options.become_password)
        with open_run(cluster.name, "restore") as run, interruptible(run, BRING):
            return Restoring(cluster, options, listener, checked).carry_out(run, watch)


def _check(cluster: Cluster, options: Options, listener: Listener, store: Store, run: Run, held: ExitStack) -> Checked:
    """Everything that can be known before anything is stopped; what a replay made is kept while `held` is open."""
    step = stepping(run, listener)
    with step("Look at the nodes"):
        grounds = survey(present(cluster, options.lost), COMPARED)
        found = under_way(grounds)
        fresh = not options.lost and unbuilt(grounds)
    sidecar, wish = wanted(store, options, found)
    with step("Prove the backup"):
        bundle = _open(store, sidecar, options.key, listener)
    snapshot = -1
    if wish:
        with step(f"Replay the stream up to {wish}"):
            bundle, snapshot = held.enter_context(brought_to(store, bundle, cluster, wish, options.key, listener))
    checked = Checked(bundle, grounds, found, fresh, snapshot)
    with step("Check that it may be restored here"):
        refuse_other(found, checked.name, grounds)
        against = tuple(misplaced(cluster, bundle.manifest, options.places))
        against += objections(cluster, bundle.manifest, grounds, found, unbuilt=fresh)
        _refuse(against + settings(cluster, _unit(bundle)), listener)
    return checked


def _unit(bundle: Bundle) -> str:
    name = part_name("/etc/systemd/system/kube-apiserver.service")
    return bundle.read(name).decode() if name in bundle.names else ""


def _open(store: Store, sidecar: Sidecar, key: Opening, listener: Listener) -> Bundle:
    listener.say(f"{sidecar.name} in {store}")
    meter = Meter(listener, sidecar.size)
    return open_bundle(store, sidecar.name, key, progress=meter.advance)


def _refuse(findings: tuple[Finding, ...], listener: Listener) -> None:
    """Say everything that stands against it at once; raise if anything forbids it."""
    for finding in findings:
        where = f"{finding.node}: " if finding.node else ""
        listener.say(f"{finding.level:7} {finding.check}  {where}{finding.text}")
        if finding.hint:
            listener.say(f"        {finding.hint}")
    blocking = [finding for finding in findings if finding.blocks]
    if blocking:
        failed = any(finding.level == "fail" for finding in blocking)
        kind = Refused if failed else Unreachable
        first = next(finding for finding in blocking if (finding.level == "fail") is failed)
        more = f", and {len(blocking) - 1} more" if len(blocking) > 1 else ""
        raise kind(f"{first.text}{more}; nothing was changed", node=first.node, hint=first.hint)
