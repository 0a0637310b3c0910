"""Rotate the key that Secrets are encrypted with: add it, write with it, rewrite all, prove it, drop the old one.

What is done is read from the nodes and from etcd's raw bytes, the new key included, so that a run that was cut off
anywhere is taken up by the same command. The new key is in this process's memory, and on the nodes.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from ssl import SSLContext

from ruamel.yaml import YAML

from cpkit import ansible
from cpkit.errors import CpkitError, Refused
from cpkit.facts.encryption import Reading, read
from cpkit.inventory import Cluster
from cpkit.journal import unfinished
from cpkit.operations import backup
from cpkit.operations.access import read_from_any
from cpkit.operations.credentials import trusting
from cpkit.operations.encryption_objects import counted
from cpkit.operations.encryption_parts import OPERATION, Options, Result, Work
from cpkit.operations.listener import Confirm, Listener, WatchFactory
from cpkit.pki.encryption import Rotation, rotation

ELSEWHERE = {"etcd-prefix", "etcd-servers-overrides"}

__all__ = ["Options", "Result", "Status", "describe", "rotate", "status"]


@dataclass(frozen=True)
class Status:
    """What every node says, and what etcd holds; `counted` says why it could not be counted."""

    readings: Mapping[str, Reading]
    stored: Mapping[str, Mapping[str, int]]
    counted: str = ""


def status(cluster: Cluster) -> Status:
    """Read everything; changes nothing."""
    readings = read(cluster, _administrator(cluster))
    resources = next((each.configuration.resources for each in readings.values() if each.configuration), ())
    try:
        return Status(readings, counted(cluster, resources))
    except CpkitError as error:
        return Status(readings, {}, str(error))


def rotate(cluster: Cluster, options: Options, listener: Listener, *, confirm: Confirm, watch: WatchFactory) -> Result:
    """Bring every node and every object to the new key, and drop the old one."""
    ansible.program()
    _refuse_elsewhere(cluster)
    work = Work(cluster, options, listener, watch, _administrator(cluster))
    earlier = unfinished(cluster.name, OPERATION)
    plan = rotation(work.held(), str(earlier["key"]) if earlier else "")
    if not options.no_backup and not options.store and not options.dry_run:
        raise Refused(
            "the backups there are need the old key, and no place is known for a new one",
            hint="Set backup_store and backup_recipients in the inventory, or pass --to STORE, or --no-backup.",
        )
    done, began = Result(plan), time.monotonic()
    if options.dry_run:
        return done
    if not confirm(describe(cluster.name, plan)):
        raise Refused("not confirmed", hint="Nothing was changed.")
    with work.part(plan, done):
        work.keys(plan, ("add", "promote"))
        work.objects(plan, done)
    if not options.no_backup:
        done.backup = backup.backup(cluster, backup.Options(options.store, options.sealing), listener).sidecar.name
    with work.part(plan, done, last=True):
        work.keys(plan, ("drop",))
    done.seconds = time.monotonic() - began
    return done


def _refuse_elsewhere(cluster: Cluster) -> None:
    """Refused where API servers keep objects elsewhere: a proof that looks for them here would be empty."""
    for flag in ELSEWHERE & cluster.spec.kube_apiserver_extra_args.keys():
        hint = "What is encrypted is looked for below /registry in the cluster's own etcd alone. Nothing was changed."
        raise Refused(f"the API servers are started with {flag}", hint=hint)


def describe(cluster: str, plan: Rotation) -> str:
    """The plan in lines."""
    old = ", ".join(key.name for key in plan.old) or "none"
    head = "this finishes a rotation that an earlier run began" if plan.begun else "this rotates the encryption key"
    return "\n".join(
        [
            f"{cluster}: {head}: {old} → {plan.new.name}",
            "  1. the new key is added on every node, then written with; API servers take it up without a restart",
            "     (each looks for a new file once a minute, so this takes up to three minutes in all)",
            "  2. every covered object is rewritten, and proven from etcd's raw bytes",
            "  3. after a new backup the old key is dropped from every node",
        ]
    )


def _administrator(cluster: Cluster) -> SSLContext:
    return trusting(YAML(typ="safe").load(read_from_any(cluster, "/etc/kubernetes/admin.conf")))
