"""Write requirements/LICENSES.md, the license of each locked package as the package states it: `make licenses`."""

import re
import subprocess
import sys
import tempfile
from importlib.metadata import Distribution, PackageNotFoundError, PathDistribution, distribution
from pathlib import Path
from zipfile import Path as ZipPath

from packaging.utils import canonicalize_name

from utils.downloads import write_text
from utils.errors import CourseError

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "requirements" / "LICENSES.md"
HEAD = """\
# Licenses of the locked packages

Every package of the three locks, with the license that it states itself. `make licenses` writes this page.

| package | versions | license | home page |
|---|---|---|---|
"""
UNKNOWN = "UNKNOWN"
PLATFORMS = ("any", "win_amd64", "macosx_11_0_arm64")  # for packages that are not for this machine


def locked() -> dict[str, list[str]]:
    """The versions of each package in the three locks, by its canonical name."""
    versions: dict[str, set[str]] = {}
    for lock in sorted(ROOT.glob("requirements*.txt")):
        for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock.read_text("utf-8"), re.M):
            versions.setdefault(canonicalize_name(name), set()).add(version)
    return {name: sorted(found) for name, found in sorted(versions.items())}


def license_of(package: Distribution) -> str:
    """The license expression of a package, else its classifiers, its text, or its license file's first line."""
    stated = package.metadata
    text = (stated.get("License") or "").strip()
    if expression := stated.get("License-Expression"):
        return expression
    classes = [
        each.split(" :: ")[-1] for each in stated.get_all("Classifier") or [] if each.startswith("License ::")
    ]
    if classes := [each for each in classes if each != "OSI Approved"]:
        return ", ".join(classes)
    if text:
        return text.splitlines()[0][:80]
    for file in stated.get_all("License-File") or []:
        lines = (package.read_text(f"licenses/{file}") or package.read_text(file) or "").split("\n")
        for line in map(str.strip, lines):
            if re.search(r"licen[sc]e", line, re.I):
                return line.removeprefix("Licensed under the ").partition(" (")[0].rstrip(",")
    if stated.get("Name", "").startswith(("cuda-", "nvidia-")):
        return "NVIDIA Proprietary Software"
    return UNKNOWN


def home_of(package: Distribution) -> str:
    """The address of a package's home page, or of its first link."""
    links = [link.partition(", ")[::2] for link in package.metadata.get_all("Project-URL") or []]
    links.sort(
        key=lambda link: (
            link[0].strip().lower() not in ("home", "homepage", "home-page", "source", "repository")
        )
    )
    stated = package.metadata.get("Home-page", UNKNOWN)
    return stated if stated != UNKNOWN else links[0][1] if links else ""


def package_of(name: str, versions: list[str], folder: Path) -> Distribution:
    """An installed package, or what the package index has of one that is for another machine, into `folder`."""
    try:
        found = distribution(name)
        if found.version in versions:
            return found
    except PackageNotFoundError:
        pass
    get = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
    for platform in PLATFORMS:
        where = ["--only-binary=:all:", "--python-version", "3.13", "--platform", platform]
        if not subprocess.run([*get, *where, f"{name}=={versions[-1]}"], capture_output=True).returncode:
            break
    for wheel in folder.glob("*.whl"):
        if canonicalize_name(wheel.name.partition("-")[0]) == name:
            (inside,) = (each for each in ZipPath(wheel).iterdir() if each.name.endswith(".dist-info"))
            return PathDistribution(inside)
    raise CourseError(
        f"{name} {versions[-1]} is neither installed nor to be had from the package index: check the network."
    )


def main() -> None:
    """Write the list anew."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, versions in locked().items():
            package = package_of(name, versions, Path(folder))
            rows.append(f"| {name} | {', '.join(versions)} | {license_of(package)} | {home_of(package)} |\n")
    write_text(LIST, HEAD + "".join(rows))
    unknown = [row for row in rows if f"| {UNKNOWN} |" in row]
    print(
        f"{LIST.relative_to(ROOT)}: {len(rows)} packages"
        + f", {len(unknown)} without a license:\n" * bool(unknown)
    )
    print("".join(unknown), end="")


if __name__ == "__main__":
    try:
        main()
    except CourseError as error:
        sys.exit(str(error))
