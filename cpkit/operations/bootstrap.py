"""Bootstrap: from bare machines, or from wherever the last run stopped, to a control plane that health vouches for."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cpkit import ansible, artifacts, kubeconfig
from cpkit.errors import CpkitError, Interrupted, Refused, Unreachable
from cpkit.facts.collect import collect
from cpkit.facts.snapshot import Snapshot
from cpkit.health import Finding, exit_code, judge, settle
from cpkit.health.standing import refuse_other_versions, standing
from cpkit.inventory import Cluster, refuse_even
from cpkit.journal import Run, open_run, owner
from cpkit.operations import preflight
from cpkit.operations.access import watching, write_kubeconfig
from cpkit.operations.listener import Confirm, Listener, WatchFactory, stepping
from cpkit.operations.plan import describe
from cpkit.operations.plays import Plays
from cpkit.ssh import Connect, kept

ROLES = "Run the roles"
SETTLE = 90.0  # seconds a cluster may take to become healthy after its last service has started


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    ignore: frozenset[str] = frozenset()
    dry_run: bool = False
    diff: bool = False
    kubeconfig: Path | None = None
    merge: bool = False
    become_password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Result:
    """How it ended."""

    cluster: str
    changed: int
    seconds: float
    findings: tuple[Finding, ...]
    availability: str  # how the API did meanwhile; empty when there was none before
    kubeconfig: Path | None
    directory: Path
    command: str  # the equivalent ansible-playbook line


def bootstrap(
    cluster: Cluster, options: Options, listener: Listener, *, confirm: Confirm, watch: WatchFactory
) -> Result:
    """Bring a cluster up, or finish what an earlier run began; a cluster that runs is left as it is."""
    _refuse_early(cluster, options)
    play = _play(cluster, options)
    with open_run(cluster.name, "bootstrap") as run, _interruptible(run, options), ExitStack() as held:
        plays, connect = Plays(run, listener), held.enter_context(kept())
        apply = held.enter_context(plays.loaded(play))  # while the machines are looked at
        step = stepping(run, listener)
        with step("Look at the machines"):
            snapshot = collect(cluster, connect=connect)
            found = standing(snapshot)
            refuse_other_versions(snapshot)
        with step("Check the machines"):
            _preflight(cluster, options, listener, connect, quick=found.stage == "running")
        run.write("plan", stage=found.stage, absent=found.absent, command=ansible.equivalent(play))
        if not options.dry_run and not confirm(describe(cluster, found)):
            raise Refused("not confirmed", hint="Nothing was changed.")
        with step("Get the binaries"):
            _binaries(cluster, listener)
        with step("Compare the machines" if options.dry_run else ROLES):
            watcher = watching(cluster, watch) if found.stage == "running" else None
            with nullcontext() if options.dry_run else plays.unlocked_at_a_failure(play):
                outcome = apply()
        findings: tuple[Finding, ...] = ()
        written = None
        if not options.dry_run:
            with step("Verify the cluster"):
                findings = _verify(cluster, listener, connect)
            with step("Write the kubeconfig"):
                written = _kubeconfig(cluster, options)
        availability = watcher.stop() if watcher else None
        run.report(
            changed=outcome.changed,
            availability=asdict(availability) if availability else None,
            hosts=outcome.hosts,
            dry_run=options.dry_run,
            command=ansible.equivalent(play),
            findings=[asdict(finding) for finding in findings if finding.level != "ok"],
        )
        return Result(
            cluster=cluster.name,
            changed=outcome.changed,
            seconds=time.time() - run.started,
            findings=findings,
            availability=str(availability or ""),
            kubeconfig=written,
            directory=run.directory,
            command=ansible.equivalent(play),
        )


def _refuse_early(cluster: Cluster, options: Options) -> None:
    """What is wrong on the operator's side is said before any machine is connected to."""
    refuse_even(len(cluster.control_plane))
    ansible.program()
    preflight.refuse_unknown(options.ignore)
    if not options.dry_run:
        kubeconfig.check(_kubeconfig_path(cluster, options), cluster.name, merge=options.merge)


def _play(cluster: Cluster, options: Options) -> ansible.Play:
    return ansible.Play(
        "site.yml",
        cluster.inventory,
        check=options.dry_run,
        diff=options.diff,
        variables={"claim_owner": owner()},
        become_password=options.become_password,
    )


def _preflight(cluster: Cluster, options: Options, listener: Listener, connect: Connect, *, quick: bool) -> None:
    report = preflight.run(cluster, ignore=options.ignore, quick=quick, connect=connect, progress=listener.status)
    for finding in (*report.warned, *report.unknown, *report.failed):
        where = f"{finding.node}: " if finding.node else ""
        listener.say(f"{finding.level:7} {finding.check}  {where}{finding.text}")
        if finding.hint:
            listener.say(f"        {finding.hint}")
    if report.failed or report.unknown:
        count = len(report.failed) + len(report.unknown)
        kind = Refused if report.failed else Unreachable
        raise kind(
            f"{count} preflight {'checks' if count > 1 else 'check'} did not pass; nothing was changed",
            hint="Mend what is named above, or pass --ignore NAME for what you know better.",
        )


def _binaries(cluster: Cluster, listener: Listener) -> None:
    spec = cluster.spec
    artifacts.ensure(spec.kubernetes, spec.etcd, source=spec.artifacts_source, progress=listener.progress)


def _verify(cluster: Cluster, listener: Listener, connect: Connect) -> tuple[Finding, ...]:
    def read() -> Snapshot:
        return collect(cluster, connect=connect)

    def check(snapshot: Snapshot) -> tuple[Finding, ...]:
        findings = judge(snapshot)
        blocking = [finding for finding in findings if finding.blocks]
        if blocking:
            where = f"{blocking[0].node}: " if blocking[0].node else ""
            listener.status(f"waiting: {where}{blocking[0].text}")
        return findings

    findings = settle(read, check, deadline=SETTLE)
    blocking = [finding for finding in findings if finding.blocks]
    if blocking:
        for finding in blocking:
            listener.say(f"{finding.level:7} {finding.check}  {finding.node or 'cluster'}: {finding.text}")
        error = CpkitError(
            f"everything is laid down, but the cluster is not healthy after {SETTLE:.0f} s: {blocking[0].text}",
            node=blocking[0].node,
            hint="Look closer with: cpkit health. Once that is mended, run the same command again.",
        )
        error.code = exit_code(findings)
        raise error
    return findings


def _kubeconfig_path(cluster: Cluster, options: Options) -> Path:
    return options.kubeconfig or kubeconfig.default_path(cluster.name)


def _kubeconfig(cluster: Cluster, options: Options) -> Path:
    path = _kubeconfig_path(cluster, options)
    write_kubeconfig(cluster, path, merge=options.merge)
    return path


@contextmanager
def _interruptible(run: Run, options: Options) -> Iterator[None]:
    """Tell a user who pressed Ctrl-C where that leaves the machines."""
    try:
        yield
    except KeyboardInterrupt:
        if options.dry_run or ROLES not in {step["step"] for step in run.steps}:
            raise Interrupted("interrupted", hint="Nothing was changed.") from None
        raise Interrupted(
            "interrupted; Ansible was stopped",
            hint="Run the same command again: it goes on where it stopped. Until then the cluster's lock is kept "
            f"for you;\n  if somebody else is to go on: cpkit unlock.\n  Log: {run.log}",
        ) from None
