"""A target in the cache, as its record describes it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cpkit.artifacts.model import Binary, Target
from cpkit.artifacts.record import Record


@dataclass(frozen=True)
class Entry:
    """A target that is in the cache."""

    target: Target
    directory: Path
    record: Record

    @property
    def binaries(self) -> tuple[Binary, ...]:
        """Its binaries, in the product's order."""
        product, version = self.target.product, self.target.version
        files = {file.name: file for file in self.record.files}
        return tuple(
            Binary(
                name=name,
                component=product.component_of(name),
                version=version,
                path=self.directory / name,
                sha256=files[name].sha256,
                size=files[name].size,
            )
            for name in product.binaries
        )

    def summary(self) -> dict[str, Any]:
        """The entry as plain data, for reports and bundles."""
        return {
            "product": self.target.product.name,
            "version": str(self.target.version),
            "arch": self.target.arch,
            "fetched": self.record.fetched.isoformat(timespec="seconds"),
            "origin": asdict(self.record.origin),
            "binaries": [{"name": b.name, "sha256": b.sha256, "size": b.size} for b in self.binaries],
        }

    @property
    def size(self) -> int:
        """Bytes on disk; one file under several names counts once."""
        return sum({binary.sha256: binary.size for binary in self.binaries}.values())
