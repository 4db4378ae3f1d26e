"""Install one locked requirements file into .venv, only when that is needed: python tools/install.py FILE."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

VENV = Path(".venv")
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
STAMP = VENV / "installed.json"
COURSE, BOOK = "requirements.txt", "requirements-book.txt"


def digest(name: str) -> str:
    """SHA-256 of a requirements file."""
    return hashlib.sha256(Path(name).read_bytes()).hexdigest()


def venv_version() -> str:
    """The version of the Python in .venv, empty when there is none, or none that runs and has pip."""
    try:
        done = subprocess.run(
            [PYTHON, "-c", "import pip, sys; print(sys.version)"], capture_output=True, text=True
        )
    except OSError:
        return ""
    return done.stdout.strip()


def main(name: str) -> None:
    """Make .venv if there is none for this Python, install the file unless exactly it is installed already."""
    stamp = json.loads(STAMP.read_text()) if STAMP.is_file() else {}
    if venv_version() != sys.version:
        stamp = {}
        print(f"Making {VENV} with Python {sys.version.split()[0]} ...", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], capture_output=True, text=True)
        if made.returncode:
            sys.exit(
                f"{sys.executable} can't make a virtual environment ({(made.stdout + made.stderr).strip()[-300:]}): "
                "on Debian or Ubuntu install the package python3-venv, elsewhere use a Python from python.org."
            )
    if stamp.get(name) == digest(name):
        return
    STAMP.unlink(missing_ok=True)
    print(f"Installing {name} into {VENV} (only when it has changed) ...", flush=True)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    if subprocess.run([*pip, "--require-hashes", "-r", name], stdin=subprocess.DEVNULL).returncode:
        sys.exit(
            f"Installing {name} failed (see pip's message above): check the network and repeat the command."
        )
    # requirements.txt holds every pin of requirements-book.txt, so it serves for both
    done = [COURSE, BOOK] if name == COURSE else [name]
    STAMP.write_text(json.dumps({each: digest(each) for each in done}))


if __name__ == "__main__":
    main(sys.argv[1])
