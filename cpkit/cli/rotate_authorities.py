"""The half of `cpkit rotate-certs` that replaces CAs and the service-account key."""

from typing import TYPE_CHECKING

from cpkit.cli.changing import confirming, result, view_of
from cpkit.cli.options import Output

if TYPE_CHECKING:
    from cpkit.inventory import Cluster
    from cpkit.operations.rotate_authorities import Options, Result


def replace_authorities(inventory: str, cluster: "Cluster", options: "Options", output: Output, *, yes: bool) -> None:
    """Replace them, and say how it ended."""
    from cpkit.operations.rotate_authorities import describe, rotate_authorities
    from cpkit.watch import Watch

    view = view_of(output)
    try:
        done = rotate_authorities(cluster, options, view, confirm=confirming(view, yes=yes), watch=Watch)
    finally:
        view.pause()
    if options.dry_run:
        text = f"{describe(cluster, done.plan, pause=options.pause)}\n\nDry run: nothing was changed."
    else:
        text = _summary(inventory, cluster.name, done)
    result(
        output,
        text,
        authorities=done.plan.names,
        resumed=done.plan.resumed,
        paused=done.come.paused,
        proven=done.come.proven,
        availability=done.availability,
        failed=done.failed,
        seconds=done.seconds,
        directory=done.directory,
    )


def _summary(inventory: str, cluster: str, done: "Result") -> str:
    from cpkit.pki.succession import WORDS, flags
    from cpkit.runs import PAGE

    what = ", ".join(WORDS[name] for name in done.plan.names)
    if not done.availability:
        lines = [f"{cluster}: an earlier run had replaced {what} already; nothing was left to do."]
    elif done.come.paused:
        lines = [
            f"{cluster}: {what}: the new issue, old and new are trusted; {done.seconds:.0f} s.",
            *_presenting(done),
            "Give clients and workers what the new ones issued. Then go on, and the old ones are refused:",
            f"  cpkit rotate-certs -i {inventory} {flags(done.plan.names)}",
        ]
    else:
        proof = f"as {done.come.proven} handshakes prove"
        lines = [f"{cluster}: {what}: the new alone are trusted, {proof}; {done.seconds:.0f} s."]
        new = f"cpkit backup etcd -i {inventory}"
        lines += [*_presenting(done), f"Backups from before hold the old ones; take a new one: {new}"]
    lines += [f"API meanwhile: {done.availability}"] if done.availability else []
    if done.kubeconfig:
        lines += [f"Kubeconfig: {done.kubeconfig}"]
    elif "cluster" in done.plan.names:
        end = "will be refused" if done.come.paused else "is refused now"
        lines += [f"Your own kubeconfig {end}; a new one: cpkit rotate-certs -i {inventory} --kubeconfig PATH"]
    return "\n".join([*lines, f"Run directory: {done.directory}", f"Report: {done.directory / PAGE}"])


def _presenting(done: "Result") -> list[str]:
    """Who was seen with a certificate that is refused once the old CA is distrusted."""
    if not done.come.presenting:
        return []
    rows = [f"  {each.user} from {each.address}, {each.seconds:.0f} s before" for each in done.come.presenting]
    return ["Seen since then with certificates that the new CA did not issue:", *rows]
