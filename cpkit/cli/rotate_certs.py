"""`cpkit rotate-certs`: renew certificates with no failed request."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from cpkit.cli.changing import DryRunOption, YesOption, cluster_and_password, confirming, result, view_of
from cpkit.cli.options import AskBecomePassOption, InventoryOption, Output, OutputOption, examples, names, new_app
from cpkit.errors import UsageError

if TYPE_CHECKING:
    from cpkit.operations.rotation import Options, Result
    from cpkit.pki.succession import Name

app = new_app()


class WithSchedule(TyperCommand):
    """The command, with `schedule` as a command below it that has options of its own."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of `schedule` when that is the first word, else the command's own."""
        if args[:1] != ["schedule"]:
            return super().make_context(info_name, args, parent, **extra)
        from cpkit.cli import renewal_schedule

        command = typer.main.get_command(renewal_schedule.app)
        return command.make_context(f"{info_name} schedule", args[1:], parent, **extra)


@app.command(
    cls=WithSchedule,
    epilog=examples(
        "cpkit rotate-certs -i prod --dry-run",
        "cpkit rotate-certs -i prod --yes",
        "cpkit rotate-certs -i prod --all --yes",
        "cpkit rotate-certs -i prod --only apiserver,etcd/peer",
        "cpkit rotate-certs -i prod --ca all --service-account --yes",
        "cpkit rotate-certs -i prod --ca cluster --pause-before-distrust --kubeconfig ~/.kube/config --merge",
        "cpkit rotate-certs -i prod --all --csr-dir ./requests",
        "cpkit rotate-certs schedule --help",
    ),
)
def rotate_certs(
    inventory: InventoryOption,
    *,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Renew every leaf.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME[,NAME]", help="Renew these leaves, and no others.")
    ] = None,
    days: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Renew what ends within so many days.",
            show_default="90, or a third of a leaf's life if that is less",
        ),
    ] = None,
    ca: Annotated[
        list[str] | None,
        typer.Option(metavar="CA[,CA]", help="Replace CAs: cluster, etcd, front-proxy, or all.", show_default=False),
    ] = None,
    service_account: Annotated[
        bool, typer.Option("--service-account", help="Replace the key that signs tokens of service accounts.")
    ] = False,
    pause_before_distrust: Annotated[
        bool,
        typer.Option("--pause-before-distrust", help="Stop before old CAs and keys are refused; without it, go on."),
    ] = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    allow_degraded: Annotated[
        bool,
        typer.Option("--allow-degraded", help="Go on while other nodes or the API are down; never below quorum."),
    ] = False,
    recover_expired: Annotated[
        bool,
        typer.Option("--recover-expired", help="Bring a cluster back whose leaves have ended, on all nodes at once."),
    ] = False,
    csr_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Have leaves signed elsewhere: requests are written there, certificates taken from there.",
            show_default=False,
        ),
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Write the administrators' kubeconfig there afterwards.", show_default=False)
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Keep what other clusters have in that kubeconfig.")] = False,
    ask_become_pass: AskBecomePassOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Renew the leaves that end soon or do not fit the inventory, one node at a time, without a restart.

    A node is touched only while all others are healthy, etcd's leader last. New certificates must be served and
    accepted in real handshakes, or the node gets its previous ones back and the run stops. CAs stay as they are.

    With --ca or --service-account, these are replaced, in three passes over the nodes: trust old and new, issue with
    the new, trust the new alone. Handshakes on every node prove each before the next begins.

    With --csr-dir, a CA elsewhere signs. The first run writes a request for each leaf; the same command takes the
    certificates from beside them, and touches no node unless all are right. No key is in the folder.

    To add a name to the API server's certificate, add it to `cluster_extra_sans` and run this.

    A run that was cut off is taken up by the same command, and renews nothing twice.

    With `schedule` as the first word, the nodes renew their leaves by themselves from then on, by a timer.
    """
    from cpkit.cli.rotate_authorities import replace_authorities
    from cpkit.cli.rotate_signed import rotate_leaves_signed_elsewhere
    from cpkit.operations.recover_expired import recover_expired as recovery
    from cpkit.operations.rotate_authorities import Options as Authorities
    from cpkit.operations.rotate_certs import rotate_certs as operation
    from cpkit.operations.rotation import Options
    from cpkit.pki.renewal import Renewal
    from cpkit.watch import Watch

    leaves = everything or only or days is not None or recover_expired
    authorities = _authorities(names(ca), service_account=service_account)
    if csr_dir and (authorities or recover_expired):
        raise UsageError(
            "--csr-dir is for leaves, one node at a time: not for --ca, --service-account, --recover-expired"
        )
    if authorities and leaves:
        raise UsageError("--ca and --service-account renew all that their CAs issued, and take no choice of leaves")
    if pause_before_distrust and not authorities:
        raise UsageError("--pause-before-distrust is for --ca and --service-account")
    cluster, password = cluster_and_password(inventory, ask_become_pass)
    if recover_expired and (everything or only or days is not None):
        raise UsageError("--recover-expired renews what has ended or does not fit, and takes no other choice")
    if authorities:
        given = Authorities(authorities, pause_before_distrust, dry_run, allow_degraded, kubeconfig, merge, password)
        replace_authorities(inventory, cluster, given, output, yes=yes)
        return
    renewal = Renewal(everything, _known(names(only)), days)
    options = Options(renewal, dry_run, allow_degraded, kubeconfig, merge, password)
    if csr_dir:
        rotate_leaves_signed_elsewhere(inventory, cluster, csr_dir, options, output, yes=yes)
        return
    view = view_of(output)
    try:
        confirm = confirming(view, yes=yes)
        if recover_expired:
            done = recovery(cluster, options, view, confirm=confirm)
        else:
            done = operation(cluster, options, view, confirm=confirm, watch=Watch)
    finally:
        view.pause()
    text = _summary(inventory, cluster.name, options, done)
    fields = {"renewed": len(done.renewed), "nodes": done.plan.order, "availability": done.availability}
    result(output, text, plan=done.plan.target.to_journal(), **fields, directory=done.directory)


def _authorities(given: frozenset[str], *, service_account: bool) -> "tuple[Name, ...]":
    from cpkit.pki.succession import NAMES

    cas = {name.replace("_", "-"): name for name in NAMES if name != "service_account"}
    for name in sorted(given - {*cas, "all"}):
        raise UsageError(f"there is no CA called {name!r}", hint=f"The CAs are: {', '.join(cas)}, or all.")
    wanted = set(cas.values()) if "all" in given else {cas[name] for name in given}
    return tuple(name for name in NAMES if name in wanted or (service_account and name == "service_account"))


def _known(given: frozenset[str]) -> frozenset[str]:
    from difflib import get_close_matches

    from cpkit.pki.leaves import NAMES

    for name in sorted(given - set(NAMES)):
        meant = get_close_matches(name, NAMES, n=1)
        hint = f"Did you mean {meant[0]}?" if meant else f"The leaves are: {', '.join(NAMES)}."
        raise UsageError(f"there is no leaf called {name!r}", hint=hint)
    return given


def _summary(inventory: str, cluster: str, options: "Options", done: "Result") -> str:
    from cpkit.operations.rotation import describe
    from cpkit.runs import PAGE

    written = [f"Kubeconfig: {done.kubeconfig}"] if done.kubeconfig else []
    if not done.plan.order:
        return "\n".join([f"{cluster}: no leaf is due. What there is: cpkit certs -i {inventory}", *written])
    if options.dry_run:
        return (
            f"{describe(cluster, done.plan)}\n\nDry run: nothing was changed.\nThe same without cpkit: {done.command}"
        )
    width = max((len(due.name) for due, _ in done.renewed), default=0)
    rows = [f"  {due.node}  {due.name:{width}}  {due.serial[:12] or '-':12} → {new[:12]}" for due, new in done.renewed]
    count = f"{len(rows)} {'leaf' if len(rows) == 1 else 'leaves'} on {len(done.plan.order)} nodes"
    how = "the controllers restarted" if done.plan.restarts else "no unit restarted"
    lines = [*rows, "", f"{cluster}: {count} renewed and in use, {done.seconds:.1f} s, {how}."]
    lines += [f"API meanwhile: {done.availability}"] if done.availability else []
    if not written:
        lines += ["Your own kubeconfig is as it was; a new one is written with --kubeconfig PATH."]
    return "\n".join([*lines, *written, f"Run directory: {done.directory}", f"Report: {done.directory / PAGE}"])
