"""Where cpkit's own files and its user's files live."""

from pathlib import Path

import platformdirs


def ansible_root() -> Path:
    """The folder that holds playbooks/ and roles/: inside the wheel, or the checkout."""
    package = Path(__file__).resolve().parent
    bundled = package / "_ansible"
    return bundled if bundled.is_dir() else package.parent


def cache_dir() -> Path:
    """Verified binaries and lab images; safe to delete at any time."""
    return platformdirs.user_cache_path("cpkit")


def state_dir() -> Path:
    """Run directories, locks and labs; holds no secret of a cluster."""
    return platformdirs.user_state_path("cpkit")
