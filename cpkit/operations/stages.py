"""Take a cluster through the stages of a rotation of authorities, each proven before the next begins."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from cpkit import ansible
from cpkit.errors import CpkitError, Unreachable
from cpkit.facts import edges
from cpkit.facts.collect import collect
from cpkit.facts.snapshot import Snapshot
from cpkit.handing import handed
from cpkit.health import settle
from cpkit.health.edges import judge_edges
from cpkit.inventory import Cluster
from cpkit.journal import owner
from cpkit.operations.authorities import PASSES, beyond, passing, told
from cpkit.operations.listener import Watcher, stepping
from cpkit.operations.plays import Plays
from cpkit.operations.presenting import Presented, presented
from cpkit.operations.publishing import AGAIN, Api, account, publish
from cpkit.operations.turning import ending_turns, looking, stepping_down
from cpkit.pki.succession import STAGES, Stage, Succession
from cpkit.rolling import Engine, Halt, Turn, halting

PROVEN = 180.0  # seconds in which every edge must answer as it should; files are taken up within a minute


@dataclass
class Come:
    """How far a run has come."""

    proven: int = 0  # handshakes that said what they should
    paused: bool = False
    presenting: tuple[Presented, ...] = ()  # who still shows what the new CA did not issue


@dataclass(frozen=True)
class Stages:
    """The way through all stages, from wherever the nodes are."""

    cluster: Cluster
    succession: Succession
    plays: Plays
    watcher: Watcher
    come: Come
    pause: bool = False  # before the old ones are distrusted
    allow_degraded: bool = False
    become_password: str = field(default="", repr=False)

    def go(self) -> None:
        """Stage after stage under the cluster's lock, and at the end the nodes let go of the old ones."""
        generations = edges.Generations(
            {"old": self.succession.old, "new": self.succession.new}, self.succession.names, self._account()
        )
        with halting(self._told) as halt, self.plays.locked(self._play("lock.yml")):
            self.plays.run.write("target", names=self.succession.names, new=self.succession.fingerprints)
            for stage in STAGES:
                if not self._roll(stage, halt):
                    self._settle(stage, generations)
                if stage == "issue" and self._pauses():
                    return
            with self._step("Let go of the old authorities"):
                self.plays.apply(self._play("forget_authorities.yml"))

    def _roll(self, stage: Stage, halt: Halt) -> bool:
        """Take every node through a stage; whether any is beyond it already, so that an earlier run proved it."""
        marks = self.succession.fingerprints
        with handed(self.succession.files(stage)) as descriptor:
            plays = replace(self.plays, keep_open=(descriptor,))

            def turn(now: Turn) -> None:
                variables = {**now.step.variables, "gate_despite": sorted(now.despite)}
                self.watcher.touching(now.node)
                plays.apply(self._play(now.step.playbook, limit=now.node, **variables))

            probe = looking(self.cluster, self.plays.run)

            def look() -> Snapshot:
                return told(probe())

            engine = Engine(
                look,
                turn,
                ending_turns(self.watcher, self._step),
                halt,
                self.allow_degraded,
                stepping_down(self.cluster, self.plays.run, self._step),
            )
            taken = engine.run([passing(stage, marks, {"authorities_descriptor": descriptor})])
        return not taken and beyond(look(), stage, marks)

    def _settle(self, stage: Stage, generations: edges.Generations) -> None:
        """What goes with a stage outside the nodes, and the proof without which the next one does not begin."""
        at = self.succession.at("issue" if stage == "trust" else stage)
        if "cluster" in self.succession.names:
            if stage != "issue" and self.cluster.load_balancers:
                with self._step(f"{PASSES[stage]} on the balancers"):
                    bundle = at.cluster.bundle_pem
                    self.plays.apply(
                        self._play("rotate_balancers.yml", load_balancer__authority=bundle, gate_asked=True)
                    )
            if stage != "issue":
                with self._step(f"{PASSES[stage]} in every namespace"):
                    publish(Api(self.cluster), at.cluster.bundle_pem, self.plays.listener)
        with self._step(f"{PASSES[stage]}: prove it on every edge"):
            self._prove(stage, generations)

    def _prove(self, stage: Stage, generations: edges.Generations) -> None:
        found = settle(
            lambda: edges.look(self.cluster, generations), lambda seen: judge_edges(seen, stage), deadline=PROVEN
        )
        blocking = [each for each in found if each.blocks]
        if blocking:
            first = blocking[0]
            kind = CpkitError if any(each.level == "fail" for each in blocking) else Unreachable
            more = f" (and {len(blocking) - 1} more)" if len(blocking) > 1 else ""
            raise kind(f"{first.text}{more}", node=first.node, hint=f"The next stage was not begun. {AGAIN}")
        self.come.proven += len(found)

    def _pauses(self) -> bool:
        """Whether it stops before the old ones are distrusted, which none of the nodes has begun with."""
        snapshot = collect(self.cluster)
        if "cluster" in self.succession.names:
            self.come.presenting = presented(self.cluster, snapshot, self.succession.new.cluster)
        self.come.paused = self.pause and not beyond(snapshot, "issue", self.succession.fingerprints)
        return self.come.paused

    def _account(self) -> edges.Account | None:
        if "service_account" not in self.succession.names:
            return None
        return account(Api(self.cluster), f"https://kubernetes.default.svc.{self.cluster.spec.cluster_dns_domain}")

    def _step(self, name: str) -> AbstractContextManager[None]:
        return stepping(self.plays.run, self.plays.listener)(name)

    def _told(self) -> None:
        self.plays.listener.say("stopping after this node; Ctrl-C once more stops at once")

    def _play(self, playbook: str, limit: str = "", **variables: object) -> ansible.Play:
        given = {**variables, "claim_owner": owner()}
        where = self.cluster.inventory
        return ansible.Play(playbook, where, limit=limit, variables=given, become_password=self.become_password)
