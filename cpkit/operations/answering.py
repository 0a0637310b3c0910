"""Answers the gate's questions of a play that runs for this process, which has at hand what a new one had to load.

A worker of Ansible sends its question with a socket of its own for the answer, so workers may ask at the same time.
"""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from cpkit import ansible
from cpkit.errors import CpkitError, Exit
from cpkit.health import exit_code
from cpkit.inventory import load
from cpkit.operations.gate import Question, answer, told

LONGEST = 1 << 16  # bytes of a question


@contextmanager
def answering(play: ansible.Play) -> Iterator[int]:
    """The descriptor by which the play asks, for as long as it lasts; a question that is open then is given up."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    over = threading.Event()
    with mine, theirs, ThreadPoolExecutor(thread_name_prefix="gate") as pool:
        listening = pool.submit(_listen, mine, play, over, pool)
        try:
            yield theirs.fileno()
        finally:
            over.set()
            mine.shutdown(socket.SHUT_RDWR)
            listening.result()


def _listen(mine: socket.socket, play: ansible.Play, over: threading.Event, pool: ThreadPoolExecutor) -> None:
    with suppress(OSError):  # it was shut down
        while not over.is_set():
            words, descriptors, _, _ = socket.recv_fds(mine, LONGEST, 1)
            if not descriptors:
                return
            pool.submit(_answer, words, socket.socket(fileno=descriptors[0]), play, over)


def _answer(words: bytes, reply: socket.socket, play: ansible.Play, over: threading.Event) -> None:
    with reply, suppress(BrokenPipeError):
        asked = json.loads(words)
        question = Question(**{**asked, "despite": frozenset(asked["despite"])})
        try:
            findings = answer(load(play.inventory).with_sudo_password(play.become_password), question, over.is_set)
            said = {"code": int(exit_code(findings)), "text": told(question, findings)}
        except CpkitError as error:
            said = {"code": int(error.code), "text": error.message}
        except Exception as error:  # nobody else would see it; it stops the change, with its reason
            said = {"code": int(Exit.FAILED), "text": f"{type(error).__name__}: {error}"}
        if not over.is_set():  # what was given up is no answer
            reply.sendall(json.dumps(said).encode())
