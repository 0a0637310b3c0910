"""`cpkit rotate-certs schedule`: leaves that the nodes renew by themselves."""

from typing import TYPE_CHECKING, Annotated

import typer

from cpkit.cli.changing import cluster_and_password
from cpkit.cli.options import InventoryOption, examples, new_app
from cpkit.cli.timer import Asked, Words, set_timer, show_status, tell
from cpkit.cli.unfolding import unfolded

if TYPE_CHECKING:
    from cpkit.facts.snapshot import Snapshot

app = new_app()


@app.command(
    epilog=examples(
        "cpkit rotate-certs schedule -i prod --dry-run --diff",
        "cpkit rotate-certs schedule -i prod --yes",
        "cpkit rotate-certs schedule -i prod --status",
        "cpkit rotate-certs schedule -i prod --remove",
        note="When nodes look is renewal_at in the inventory, daily unless set. Examples:",
    )
)
@unfolded
def schedule(
    inventory: InventoryOption,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Take the timers away, and all that is theirs.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only show when each node looked, and the end.")] = False,
    asked: Asked,
) -> None:
    """Have the control-plane nodes renew their leaves by themselves, each by a timer of its own.

    A node that finds a leaf due takes a lock in etcd, so that no two nodes are at it together, and the cluster's lock
    on itself, so that no run of cpkit is. It makes the leaf anew as it was, with the CA's key that lies there, and
    proves by handshakes that it is in use; otherwise the previous one is put back. A node that is not well, or without
    quorum, changes nothing. A second run of this command changes nothing.
    """
    from cpkit.operations.renewal_schedule import renewal_timer

    cluster, password = cluster_and_password(inventory, asked.ask_become_pass)
    if status:
        raise typer.Exit(
            show_status(cluster, "certs.renewal", asked.output, part=lambda host: host.renewal, table=_table)
        )
    done = set_timer(cluster, renewal_timer(cluster, remove=remove), asked, password)
    tell(cluster.name, done, _words(inventory), asked)


def _words(inventory: str) -> Words:
    return Words(
        as_asked="the nodes renew their leaves by themselves already",
        none="the nodes do not renew leaves by themselves",
        short="the timers",
        full="the timers that renew leaves are",
        status=f"cpkit rotate-certs schedule -i {inventory} --status",
    )


def _table(snapshot: "Snapshot") -> str:
    from cpkit.cli.backup_view import at, table

    rows = []
    for name, facts in snapshot.control_plane.items():
        found = facts.host.renewal if facts.host else None
        if found is None:
            rows.append((name, "not known" if facts.host is None else "none", "", "", "", "", ""))
            continue
        renewed = f"{len(found.renewed)} on {at(found.renewed_at)}" if found.renewed_at else "-"
        rows.append((name, found.calendar, found.timer, found.outcome, at(found.at), renewed, at(found.ends)))
    return table(("NODE", "LOOKS", "TIMER", "OUTCOME", "LAST LOOK", "RENEWED", "FIRST LEAF ENDS"), rows)
