"""Plays as parts of a run: journalled and shown, and the cluster's lock around several of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from cpkit import ansible
from cpkit.errors import CpkitError, Locked
from cpkit.journal import Run, owner
from cpkit.operations.answering import answering
from cpkit.operations.listener import Listener


@dataclass(frozen=True)
class Plays:
    """What runs the plays of one run."""

    run: Run
    listener: Listener
    keep_open: tuple[int, ...] = ()  # descriptors that the plays inherit

    def apply(self, play: ansible.Play) -> ansible.Outcome:
        """Run a play, and raise what failed in it."""
        with self.loaded(play) as apply:
            return apply()

    @contextmanager
    def loaded(self, play: ansible.Play) -> Iterator[Callable[[], ansible.Outcome]]:
        """What runs a play, once, as `apply` does: Ansible loads it while the body does something else before."""
        with answering(play) as gate:
            asking = replace(play, variables={**play.variables, "gate_descriptor": gate})
            keep_open = (self.run.lock, *self.keep_open, gate)
            with ansible.loaded(asking, log=self.run.log, keep_open=keep_open) as ready:
                yield lambda: self._apply(ready)

    def _apply(self, ready: ansible.Loaded) -> ansible.Outcome:
        def on_event(event: ansible.Event) -> None:
            fields = {key: value for key, value in event.items() if key not in {"event", "at", "diff"}}
            self.run.write(event["event"], **fields)
            self.listener.event(event)

        outcome = ready.run(on_event)
        if outcome.failures:
            error = ansible.failure(outcome)
            if not isinstance(error, Locked):
                error.hint = (
                    f"Mend it and run the same command again: it goes on where it stopped.\n  Log: {self.run.log}"
                )
            raise error
        return outcome

    def give_lock_back(self, play: ansible.Play) -> None:
        """Give the cluster's lock back, whatever has happened; what goes wrong is only written down."""
        unlock = replace(play, playbook="unlock.yml", check=False, diff=False)
        try:
            ansible.run(unlock, log=self.run.log, on_event=lambda _: None)
        except CpkitError as error:
            self.run.write("error", step="unlock", message=str(error))

    @contextmanager
    def unlocked_at_a_failure(self, play: ansible.Play) -> Iterator[None]:
        """For plays that take the lock themselves and give it back at their end; one that fails does not get there."""
        try:
            yield
        except CpkitError:
            self.give_lock_back(play)
            raise

    @contextmanager
    def locked(self, play: ansible.Play) -> Iterator[None]:
        """Hold the cluster's lock on the hosts of a play; a run that is interrupted keeps it, and may go on."""
        lock = replace(play, playbook="lock.yml", variables={"claim_owner": owner()})
        with self.unlocked_at_a_failure(lock):
            self.apply(lock)
            yield
        self.apply(replace(lock, playbook="unlock.yml"))
