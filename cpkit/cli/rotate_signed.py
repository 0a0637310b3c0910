"""The half of `cpkit rotate-certs` that has leaves signed by a CA elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING

from cpkit.cli.changing import confirming, result, view_of
from cpkit.cli.options import Output

if TYPE_CHECKING:
    from cpkit.inventory import Cluster
    from cpkit.operations.rotate_signed import Result
    from cpkit.operations.rotation import Options


def rotate_leaves_signed_elsewhere(
    inventory: str, cluster: "Cluster", folder: Path, options: "Options", output: Output, *, yes: bool
) -> None:
    """Write requests, or take certificates; and say what comes next."""
    from cpkit.operations.rotate_signed import rotate_signed
    from cpkit.watch import Watch

    view = view_of(output)
    try:
        done = rotate_signed(cluster, folder, options, view, confirm=confirming(view, yes=yes), watch=Watch)
    finally:
        view.pause()
    text = _summary(inventory, cluster.name, folder, options, done)
    taken = [{"node": node, "leaf": leaf, "serial": serial} for (node, leaf), serial in done.taken]
    result(output, text, asked=done.asked, taken=taken, availability=done.availability, directory=done.directory)


def _summary(inventory: str, cluster: str, folder: Path, options: "Options", done: "Result") -> str:
    from cpkit.operations.signing_folder import README, file_of
    from cpkit.runs import PAGE

    if done.asked:
        first = done.asked[0]
        count = f"{len(done.asked)} {'leaf' if len(done.asked) == 1 else 'leaves'}"
        if options.dry_run:
            return f"{cluster}: {count} would be asked for, in {folder}.\nDry run: nothing was changed."
        return "\n".join(
            [
                f"{cluster}: {count} asked for in {folder}; {README} there says which CA, subject and names.",
                f"Put each certificate beside its request: {file_of(first, 'crt')} for {file_of(first, 'csr')}. Then:",
                f"  cpkit rotate-certs -i {inventory} --csr-dir {folder}",
                f"Run directory: {done.directory}",
            ]
        )
    if options.dry_run and done.taken:
        return f"{cluster}: all {len(done.taken)} certificates in {folder} are right.\nDry run: nothing was changed."
    if not done.taken:
        return f"{cluster}: nothing is left to ask for or to take. What there is: cpkit certs -i {inventory}"
    width = max(len(leaf) for (_, leaf), _ in done.taken)
    lines = [f"  {node}  {leaf:{width}}  → {serial[:12]}" for (node, leaf), serial in done.taken]
    count = f"{len(lines)} {'leaf' if len(lines) == 1 else 'leaves'}"
    lines += ["", f"{cluster}: {count} signed elsewhere in use, {done.seconds:.1f} s, no unit restarted."]
    lines += [f"API meanwhile: {done.availability}"]
    lines += [f"Kubeconfig: {done.kubeconfig}"] if done.kubeconfig else []
    return "\n".join([*lines, f"Run directory: {done.directory}", f"Report: {done.directory}/{PAGE}"])
