"""What the agent reports of one node; None, an empty value or an entry in `missing` means unknown."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Unit:
    """A systemd unit as systemd sees it."""

    state: str  # ActiveState: active, activating, failed, inactive
    sub: str = ""
    loaded: str = "loaded"  # LoadState: not-found when there is no such unit
    restarts: int = 0
    pid: int = 0
    started: float = 0.0  # seconds since the node's boot, so a wrong clock does no harm

    @property
    def running(self) -> bool:
        """Whether its main process is up and past its start."""
        return self.state == "active" and self.sub == "running"


@dataclass(frozen=True)
class Component:
    """A component's version: of the process that runs, and of what the next start would run."""

    running: str = ""
    selected: str = ""
    emulates: str = ""  # the minor that the process behaves like; empty for its own
    would_emulate: str = ""  # the same of the next start
    installed: tuple[str, ...] = ()  # the versions that lie on the node
    before: str = ""  # what was selected before the last upgrade of the node


@dataclass(frozen=True)
class Probe:
    """One HTTPS request; status 0 means that nobody answered."""

    status: int = 0
    seconds: float = 0.0
    failed: tuple[str, ...] = ()  # the named checks that a verbose health path says failed
    error: str = ""
    served: str = ""  # SHA-256 of the certificate the server showed

    @property
    def ok(self) -> bool:
        """Whether the server said yes."""
        return self.status == 200


@dataclass(frozen=True)
class Lease:
    """Who holds an election, and how long ago it was renewed by the reporting node's clock."""

    holder: str
    age: float
    duration: float
    transitions: int = 0


@dataclass(frozen=True)
class Key:
    """A key that has no certificate, by a fingerprint that only tells it from others."""

    fingerprint: str
    state: str  # of sa.key: match, mismatch or absent beside sa.pub; present for a key that encrypts


@dataclass(frozen=True)
class Pem:
    """A public certificate file, or the certificate inside a kubeconfig."""

    path: str
    pem: str
    key: str = "absent"  # match, mismatch, absent, unreadable


@dataclass(frozen=True)
class Disk:
    """The file system under etcd's data directory, in bytes."""

    path: str
    size: int
    free: int
    inodes_free: float = 1.0  # as a part of all


@dataclass(frozen=True)
class Scheduled:
    """The last backup that a node of the schedule published; times are seconds since the epoch."""

    name: str
    node: str
    at: float
    seconds: float
    size: int
    revision: int


@dataclass(frozen=True)
class Schedule:
    """The schedule of backups as a node has it, and what its last run found."""

    calendar: str
    store: str
    jitter: int
    digest: str  # of all that must be the same on every node
    timer: str  # ActiveState
    at: float = 0.0  # when it last ran, or was set; 0 when it never did
    next: float = 0.0  # when a backup is due after that; 0 for never
    period: float = 0.0
    outcome: str = "waiting"  # for the first run; taken, seen, failed
    error: str = ""
    hint: str = ""
    verified: dict[str, float] = field(default_factory=dict)  # proof -> when a backup was last proven so
    record: Scheduled | None = None


@dataclass(frozen=True)
class Renewals:
    """The timer that renews a node's leaves, and what its last run found; times are seconds since the epoch."""

    calendar: str
    timer: str  # ActiveState
    at: float = 0.0  # when it last ran; 0 when it never did
    outcome: str = "waiting"  # for the first run; idle (no leaf was due), renewed, failed
    error: str = ""
    hint: str = ""
    ends: float = 0.0  # when the first leaf ends
    renewed: tuple[str, ...] = ()  # the last time that any was due
    renewed_at: float = 0.0


@dataclass(frozen=True)
class Server:
    """A server of the balancer's backend, as the balancer sees it."""

    status: str  # UP, DOWN, DRAIN, MAINT …
    check: str = ""  # why, in the balancer's own word


@dataclass(frozen=True)
class Rotation:
    """How far authorities are being replaced on a node; all by fingerprint, `old` and `new` by the authority's name."""

    tokens: tuple[str, ...] = ()  # public keys that verify tokens; what signs is the first
    old: dict[str, str] = field(default_factory=dict)
    new: dict[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()  # stages whose replaced files still lie aside
    changed: dict[str, float] = field(default_factory=dict)  # file of an authority -> seconds since the boot


@dataclass(frozen=True)
class Host:
    """Everything one agent run learnt of its node."""

    units: dict[str, Unit] = field(default_factory=dict)
    components: dict[str, Component] = field(default_factory=dict)
    flags: dict[str, str] = field(default_factory=dict)  # kube-apiserver's flags: name -> digest of the value
    missing_key: str = ""  # that kube-controller-manager is to sign with
    files: dict[str, str] = field(default_factory=dict)  # path -> SHA-256
    probes: dict[str, Probe] = field(default_factory=dict)  # readyz, livez, kube-controller-manager, kube-scheduler
    leases: dict[str, Lease] = field(default_factory=dict)
    clients: dict[str, Probe] = field(default_factory=dict)  # client certificate -> the answer of the server it is for
    keys: dict[str, Key] = field(default_factory=dict)  # path, or path#name
    rotation: Rotation | None = None
    disk: Disk | None = None
    room: Disk | None = None  # for binaries
    backup: Schedule | None = None  # None when it has no schedule, unless it is missing
    renewal: Renewals | None = None  # None when it has no such timer, unless it is missing
    kept: bool = False  # whether leaves that a rotation replaced still lie aside
    kept_encryption: bool = False  # whether an encryption configuration does
    etcd_data: bool | None = None  # whether etcd has a log in its data directory
    fsync: dict[str, float] = field(default_factory=dict)  # upper bound in seconds -> count so far
    servers: dict[str, Server] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    peers: dict[str, str] = field(default_factory=dict)  # "cp2:2380" -> "" or why it cannot be reached
    uptime: float = 0.0  # seconds since boot when the agent ran
    missing: dict[str, str] = field(default_factory=dict)  # fact -> why it could not be read


@dataclass(frozen=True)
class Report:
    """The agent's document."""

    clock: tuple[float, float]  # the node's clock when the agent began and when it ended
    host: Host
    certificates: tuple[Pem, ...] = ()
    served: dict[str, str] = field(default_factory=dict)  # port, or "loopback" -> the certificate shown there, PEM
