"""What servers are made of: Debian's packages, and jars that Maven fetches and we arrange. Once, and with a log."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from services.place import ROOT, Failed
from services.signals import check

PACKAGES = {
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "redis-server": "redis-server",
    "java": "default-jdk-headless",
    "javac": "default-jdk-headless",
    "mvn": "maven",
}
"""Program -> the Debian package that has it."""
JAVA = ("java", "javac", "mvn")
"""What a server needs whose jars we fetch."""
BUILD = ROOT / "build" / "services"
"""Jars, shared by all places of this checkout."""
LAST_LINES = 15


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, file=sys.stderr, flush=True)


def find_administration() -> None:
    """Servers are among the programs of administrators, which not everybody's PATH names."""
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"


def ensure(programs: Sequence[str], log: Path) -> None:
    """Install the Debian packages of programs that are not there. Raises Failed where that is for others to do."""
    missing = _missing(programs)
    if not missing:
        return
    packages = sorted({PACKAGES[program] for program in missing})
    if os.getuid() == 0 and shutil.which("apt-get"):
        apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300"]
        run("reading the lists of Debian's packages", log, *apt, "update")
        silent = ["env", "DEBIAN_FRONTEND=noninteractive"]
        run(
            f"installing {' '.join(packages)}",
            log,
            *silent,
            *apt,
            "install",
            "-y",
            "--no-install-recommends",
            *packages,
        )
        missing = _missing(programs)
    if missing:
        raise Failed(f"missing: {', '.join(missing)}. On Debian, as root: apt-get install {' '.join(packages)}")


def _missing(programs: Sequence[str]) -> list[str]:
    return [program for program in programs if not shutil.which(program)]


def run(what: str, log: Path, *command: str) -> None:
    """Run a command to its end, its output added to a log. Raises Failed with the end of the log."""
    say(f"{what} ...")
    with log.open("ab") as out:
        code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    if code:
        check()  # A terminal's Ctrl-C ends it too: then that is the reason.
        raise Failed(f"{what} failed (exit code {code})\n{tail(log)}")


def tail(log: Path) -> str:
    """The end of a log, and where the rest of it is."""
    lines = log.read_text("utf-8", errors="replace").splitlines()[-LAST_LINES:] if log.exists() else []
    return "\n".join([*(f"  | {line}" for line in lines), f"the log is {log}"])


def jars(kind: str, sources: Sequence[Path], arrange: Callable[[Path, Path], None] | None = None) -> Path:
    """The folder with the jars of `kind`, made once for these sources, the first of which lies beside `pom.xml`.

    Changed sources get another folder, so that a server that runs keeps the jars it was started with. `arrange` is
    given the folder and a log, and makes of the jars whatever else is needed.
    """
    stamp = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    folder = BUILD / f"{kind}-{stamp}"
    if folder.exists():
        return folder
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            log, fresh = BUILD / f"{kind}.log", BUILD / f"{kind}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            pom = sources[0].with_name("pom.xml")
            run(
                f"fetching the jars of {kind}", log,
                "mvn", "--batch-mode", "--no-transfer-progress", f"--file={pom}", "dependency:copy-dependencies",
                "-DincludeScope=runtime", f"-DoutputDirectory={fresh}",
            )  # fmt: skip
            if arrange:
                arrange(fresh, log)
            fresh.rename(folder)
    return folder
