"""Opens the SSH connections that lead to a node; imported when the first one is made."""

import logging
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko

from cpkit.errors import Unreachable
from cpkit.ssh.deadline import Deadline
from cpkit.ssh.errors import AuthenticationFailed, HostKeyChanged, HostKeyUnknown
from cpkit.ssh.keys import candidates
from cpkit.ssh.known_hosts import HostKey, Pinned, name_of, pinned
from cpkit.ssh.route import Hop, read_config, route

if TYPE_CHECKING:
    from cpkit.inventory import Node

KEEPALIVE_SECONDS = 15

# paramiko logs what it also raises; without a handler Python would print it.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


def dial(node: "Node", timeout: float) -> tuple[paramiko.Transport, ...]:
    """An authenticated transport per hop, the node's last; Unreachable with the reason, and nothing left open."""
    deadline = Deadline.within(timeout)
    opened: list[paramiko.Transport] = []
    try:
        hops = route(node.ssh, read_config(Path("~/.ssh/config").expanduser()))
        for hop in hops:
            try:
                opened.append(_open(hop, opened[-1] if opened else None, deadline))
            except Unreachable as error:
                raise type(error)(_via(hop, hops) + error.message, hint=error.hint, node=node.name) from error
    except BaseException:
        for transport in reversed(opened):
            transport.close()
        raise
    return tuple(opened)


def _via(hop: Hop, hops: tuple[Hop, ...]) -> str:
    return "" if hop is hops[-1] else f"on the way, at the jump host {hop}: "


def _open(hop: Hop, through: paramiko.Transport | None, deadline: Deadline) -> paramiko.Transport:
    try:
        sock = _tcp(hop, deadline) if through is None else _forwarded(hop, through, deadline)
    except TimeoutError:
        hint = "Is the machine up, the address right, and the port open in every firewall between?"
        raise Unreachable(f"no answer from {hop} within {deadline.seconds:g} s", hint=hint) from None
    transport = paramiko.Transport(sock)
    try:
        _greet(transport, hop, deadline)
        _authenticate(transport, hop, deadline)
    except BaseException:
        transport.close()
        raise
    transport.set_keepalive(KEEPALIVE_SECONDS)
    return transport


def _tcp(hop: Hop, deadline: Deadline) -> socket.socket:
    try:
        sock = socket.create_connection((hop.host, hop.port), timeout=deadline.left)
    except ConnectionRefusedError as error:
        hint = "Is sshd running there, and on this port? ansible_port names another one."
        raise Unreachable(f"SSH was refused by {hop}", hint=hint) from error
    except socket.gaierror as error:
        raise Unreachable(f"the name {hop.host} cannot be resolved", hint="Correct ansible_host.") from error
    except TimeoutError:
        raise
    except OSError as error:
        raise Unreachable(f"{hop} cannot be reached: {error.strerror}", hint="Is there a route to it?") from error
    # SSH sends small packets one after another: with Nagle's algorithm a command takes 40 ms longer.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _forwarded(hop: Hop, through: paramiko.Transport, deadline: Deadline) -> paramiko.Channel:
    try:
        return through.open_channel("direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=deadline.left)
    except paramiko.ChannelException as error:
        raise Unreachable(f"the jump host cannot reach {hop}: {error.text}") from error
    except (paramiko.SSHException, EOFError) as error:
        raise TimeoutError from error


def _greet(transport: paramiko.Transport, hop: Hop, deadline: Deadline) -> None:
    """Agree on keys with the host and make sure that it is the host."""
    known = pinned(hop.known_hosts, hop.host, hop.port)
    options = transport.get_security_options()
    options.key_types = sorted(options.key_types, key=lambda name: _kind(name) not in known.kinds)
    # AES-GCM is one pass over the data where AES-CTR with a MAC is two; it matters when a database comes through.
    options.ciphers = sorted(options.ciphers, key=lambda name: "gcm" not in name)
    options.kex = sorted(options.kex, key=lambda name: not name.startswith("curve25519"))
    transport.banner_timeout = transport.handshake_timeout = deadline.left
    done = threading.Event()
    transport.start_client(event=done)
    try:
        finished = done.wait(deadline.left)
    except TimeoutError:
        finished = False
    if not transport.is_active() or not finished:
        reason = transport.get_exception()
        text = f"no SSH greeting from {hop} within {deadline.seconds:g} s" if not finished or _slow(reason) else ""
        hint = "The machine accepts connections, but its sshd does not speak: overloaded, stopped, or not sshd at all."
        raise Unreachable(text or f"{hop} does not speak SSH with us: {reason}", hint=hint)
    _check_host_key(transport, hop, known)


def _slow(reason: BaseException | None) -> bool:
    return isinstance(reason, paramiko.SSHException) and "banner" in str(reason) and "timed out" in str(reason).lower()


def _kind(algorithm: str) -> str:
    return "ssh-rsa" if algorithm.startswith("rsa-sha2") else algorithm


def _check_host_key(transport: paramiko.Transport, hop: Hop, known: Pinned) -> None:
    shown = transport.get_remote_server_key()
    key = HostKey(shown.get_name(), shown.get_base64())
    verdict, file, name = known.judge(key), hop.known_hosts[0], name_of(hop.host, hop.port)
    if verdict == "unknown":
        raise HostKeyUnknown(
            f"the host key of {hop} is not known: {key.kind} {key.fingerprint}",
            hint="Compare it on the machine's console (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then pin it: "
            f"ssh-keyscan -p {hop.port} {hop.host} >> {file}",
        )
    if verdict == "revoked":
        raise HostKeyChanged(f"the host key of {hop} is marked as revoked: {key.kind} {key.fingerprint}")
    if verdict == "changed":
        raise HostKeyChanged(
            f"the host key of {hop} has changed: it shows {key.kind} {key.fingerprint}, and another is pinned",
            hint="Somebody may be in between. If the machine was only reinstalled, forget the old key and pin the new: "
            f"ssh-keygen -R '{name}' -f {file}",
        )


def _authenticate(transport: paramiko.Transport, hop: Hop, deadline: Deadline) -> None:
    tried: list[str] = []
    for candidate in candidates(hop):
        tried.append(candidate.label)
        try:
            transport.auth_timeout = deadline.left
            transport.auth_publickey(hop.user, candidate.key)
        except TimeoutError as error:
            raise _no_verdict(hop, deadline) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            if "timeout" in str(error).lower():
                raise _no_verdict(hop, deadline) from error
        if transport.is_authenticated():
            return
        if not transport.is_active():
            break  # too many keys for this server's taste
    keys = ", ".join(tried) or "none found"
    hint = f"Let that key in for {hop.user} there (ssh-copy-id), or name another: ansible_ssh_private_key_file."
    raise AuthenticationFailed(f"{hop} did not let user {hop.user} in (keys tried: {keys})", hint=hint)


def _no_verdict(hop: Hop, deadline: Deadline) -> Unreachable:
    return Unreachable(f"{hop} did not answer the login of {hop.user} within {deadline.seconds:g} s")
