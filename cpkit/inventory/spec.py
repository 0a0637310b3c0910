"""The variables an inventory may set, typed and documented once, and what must hold between them."""

from pydantic import ConfigDict, field_validator, model_validator

from cpkit.errors import CpkitError
from cpkit.inventory.spec_backup import BackupSpec
from cpkit.inventory.spec_control_plane import ControlPlaneSpec
from cpkit.versions import Minor, Version, version_table

EMULATED_BEHIND = 3  # minors that Kubernetes can emulate back


class ClusterSpec(BackupSpec, ControlPlaneSpec):  # the last named comes first in schemas and new inventories
    """The variables of a cluster; each belongs to the role its prefix names, `cluster_` to all, `backup_` to none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("cluster_kubernetes_version")
    @classmethod
    def _known_kubernetes(cls, value: str) -> str:
        table = version_table()
        if not value:
            return str(table.minors[table.default].kubernetes)
        _row(value)
        return str(Version.parse(value))

    @field_validator("cluster_etcd_version")
    @classmethod
    def _parsed_etcd(cls, value: str) -> str:
        return str(_parsed(value)) if value else ""

    @model_validator(mode="after")
    def _etcd_above_its_floor(self) -> "ClusterSpec":
        floor = _row(self.cluster_kubernetes_version).etcd_floor
        if self.etcd < floor:
            raise ValueError(f"cluster_etcd_version {self.etcd} is older than {floor}, the oldest supported one")
        return self

    @model_validator(mode="after")
    def _emulation_within_reach(self) -> "ClusterSpec":
        if self.cluster_emulated_version:
            major, minor = map(int, self.cluster_emulated_version.split("."))
            behind = self.kubernetes.minor - minor
            if major != self.kubernetes.major or not 1 <= behind <= EMULATED_BEHIND:
                raise ValueError(
                    f"Kubernetes {self.kubernetes} cannot emulate {self.cluster_emulated_version}: "
                    f"it must be 1 to {EMULATED_BEHIND} minors older"
                )
        for name in ("kube_apiserver", "kube_controller_manager", "kube_scheduler"):
            if "emulated-version" in getattr(self, f"{name}_extra_args"):
                raise ValueError(
                    f"emulated-version does not belong into {name}_extra_args: set cluster_emulated_version"
                )
        return self

    @model_validator(mode="after")
    def _timings_agree(self) -> "ClusterSpec":
        if self.etcd_election_timeout_ms < 5 * self.etcd_heartbeat_interval_ms:
            raise ValueError("etcd_election_timeout_ms must be at least 5 times etcd_heartbeat_interval_ms")
        return self

    @model_validator(mode="after")
    def _networks_apart(self) -> "ClusterSpec":
        if self.cluster_service_cidr.overlaps(self.cluster_pod_cidr):
            raise ValueError(
                f"cluster_service_cidr {self.cluster_service_cidr} overlaps cluster_pod_cidr {self.cluster_pod_cidr}"
            )
        return self

    @property
    def kubernetes(self) -> Version:
        """The Kubernetes version to run."""
        return Version.parse(self.cluster_kubernetes_version)

    @property
    def etcd(self) -> Version:
        """The etcd version to run."""
        if self.cluster_etcd_version:
            return Version.parse(self.cluster_etcd_version)
        return version_table().minor(self.kubernetes).etcd


def _parsed(text: str) -> Version:
    try:
        return Version.parse(text)
    except CpkitError as error:
        raise ValueError(_told(error)) from error


def _row(text: str) -> Minor:
    try:
        return version_table().minor(Version.parse(text))
    except CpkitError as error:
        raise ValueError(_told(error)) from error


def _told(error: CpkitError) -> str:
    return f"{error.message}. {error.hint}" if error.hint else error.message
