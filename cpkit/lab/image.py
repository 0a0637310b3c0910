"""The base image of the lab's machines: Debian with systemd and sshd, made once and cached under its recipe's hash."""

import hashlib
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from cpkit.errors import CpkitError
from cpkit.lab.engine import Engine, engine_errors
from cpkit.lab.mirrors import host_mirrors, host_proxy
from cpkit.paths import cache_dir

REPOSITORY = "localhost/cpkit-lab"
SUITE = "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "python3", "ca-certificates", "curl", "kmod"),
    *("procps", "iproute2", "iputils-ping", "nftables", "haproxy", "keepalived"),
)
# Documentation and translations are a third of the tree.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
_STEP = re.compile(r"I: ((?:running apt-get|downloading|extracting|installing|creating tarball)[^.]*)")
_RECIPE = Path(__file__).with_name("recipe")


def image_tag() -> str:
    """The image's full name; it changes with anything that goes into the image."""
    digest = hashlib.sha256(repr((SUITE, PACKAGES, _LEFT_OUT)).encode())
    for path in sorted(_RECIPE.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(_RECIPE)}\0".encode() + path.read_bytes())
    return f"{REPOSITORY}:{digest.hexdigest()[:12]}"


def ensure_image(engine: Engine, progress: Callable[[str], None]) -> str:
    """The tag of the base image, which is made first when the engine does not have it."""
    tag = image_tag()
    if engine.client.image.exists(tag):
        return tag
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lab-image-", dir=cache_dir()) as folder:
        tree = Path(folder) / "root.tar"
        _make_tree(tree, progress)
        progress("importing the tree")
        with engine_errors("importing the base image"):
            engine.client.image.import_(tree, tag=tag, changes=['CMD ["/sbin/init"]'])
    return tag


def remove_images(engine: Engine) -> int:
    """Remove every base image, of this recipe and of earlier ones, and say how many."""
    images = {image.id: image for image in engine.client.image.list(REPOSITORY)}
    with engine_errors("removing the base image", hint="Another lab may be using it: cpkit lab list"):
        for image in images.values():
            image.remove()
    return len(images)


def _make_tree(target: Path, progress: Callable[[str], None]) -> None:
    if shutil.which("mmdebstrap") is None:
        raise CpkitError(
            "mmdebstrap is not installed, and the base image is made with it",
            hint="On Debian or Ubuntu: apt-get install --no-install-recommends mmdebstrap debian-archive-keyring",
        )
    process = subprocess.Popen(
        _mmdebstrap(target), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    said = []
    with process:
        for line in process.stderr or ():
            said.append(line.strip())
            if step := _STEP.match(line):
                progress(step[1])
    if process.returncode != 0:
        raise CpkitError(
            f"mmdebstrap failed: {_reason(said)}",
            hint="The base image is made of Debian's packages: check that this machine reaches its mirror.",
        )


def _mmdebstrap(target: Path) -> list[str]:
    setup = shlex.join(["sh", str(_RECIPE / "setup.sh"), str(_RECIPE)])
    command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    if proxy := host_proxy():
        command.append(f'--aptopt=Acquire::http::Proxy "{proxy}"')
    return [*command, f'--customize-hook={setup} "$1"', SUITE, str(target), *host_mirrors(SUITE)]


def _reason(said: list[str]) -> str:
    errors = [line.removeprefix("E: ") for line in said if line.startswith("E: ")]
    return errors[0] if errors else (said[-1] if said else "it said nothing")
