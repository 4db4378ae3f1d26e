"""Install one locked requirements file, only when that is needed: python tools/install.py FILE [FOLDER, else .venv].

A list without versions (requirements/*.in) is installed, too: each time, and in the newest versions that fit together.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

PYTHON = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
COURSE, BOOK = "requirements.txt", "requirements-book.txt"


def digest(name: str) -> str:
    """SHA-256 of a requirements file."""
    return hashlib.sha256(Path(name).read_bytes()).hexdigest()


def venv_version(venv: Path) -> str:
    """The version of the Python in a virtual environment, empty when there is none, or none that runs and has pip."""
    try:
        done = subprocess.run(
            [venv / PYTHON, "-c", "import pip, sys; print(sys.version)"], capture_output=True, text=True
        )
    except OSError:
        return ""
    return done.stdout.strip()


def main(name: str, folder: str = ".venv") -> None:
    """Make the environment if there is none for this Python, install the file unless it is installed already."""
    venv = Path(folder)
    stamp_file = venv / "installed.json"
    stamp = json.loads(stamp_file.read_text()) if stamp_file.is_file() else {}
    if venv_version(venv) != sys.version:
        stamp = {}
        print(f"Making {venv} with Python {sys.version.split()[0]} ...", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", venv], capture_output=True, text=True)
        if made.returncode:
            sys.exit(
                f"{sys.executable} can't make a virtual environment ({(made.stdout + made.stderr).strip()[-300:]}): "
                "on Debian or Ubuntu install the package python3-venv, elsewhere use a Python from python.org."
            )
    if stamp.get(name) == digest(name):
        return
    stamp_file.unlink(missing_ok=True)
    print(f"Installing {name} into {venv} (only when it has changed) ...", flush=True)
    pip = [venv / PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    pip += ["--no-compile"]  # of the whole course 25,000 files, so that is done below, on all cores
    locked = name.endswith(".txt")
    newest = [*pip, "--upgrade", "--upgrade-strategy", "eager", "-r", name]
    command = [*pip, "--require-hashes", "-r", name] if locked else newest
    if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
        free = shutil.disk_usage(venv).free / 1e9
        sys.exit(
            f"Installing {name} failed (see pip's message above): check the network and the disk (the whole course "
            f"takes up to 15 GB while it is installed, {free:.1f} GB are free here) and repeat the command."
        )
    # what is no Python, such as some packages' templates, is passed over
    code = "import compileall, sysconfig; compileall.compile_dir(sysconfig.get_path('purelib'), quiet=2, workers=0)"
    subprocess.run([venv / PYTHON, "-c", code], stdin=subprocess.DEVNULL)
    # requirements.txt holds every pin of requirements-book.txt, so it serves for both
    done = [COURSE, BOOK] if name == COURSE else [name]
    if locked:
        stamp_file.write_text(json.dumps({each: digest(each) for each in done}))


if __name__ == "__main__":
    main(*sys.argv[1:])
