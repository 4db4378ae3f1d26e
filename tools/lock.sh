#!/bin/sh
# Make the requirements*.txt from the commented lists in requirements/.
# One lock serves Linux, macOS and Windows and Python 3.10 to 3.13 (--universal): every line carries the markers it needs
# and the hashes of all its files. Versions that are locked already stay unless `UPGRADE=1 make lock`.
set -eu
cd "$(dirname "$0")/.."
lock() {  # lock SOURCE TARGET [MORE]
    source=$1 target=$2
    shift 2
    uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-emit-find-links \
        ${UPGRADE:+--upgrade} --custom-compile-command "make lock  (uv pip compile --universal --python-version 3.10 --generate-hashes $source)" \
        "$source" -o "$target" "$@"
    echo "$target: $(grep -c '==' "$target") packages"
}
command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
lock requirements/course.in requirements.txt
lock requirements/book.in requirements-book.txt --constraints requirements.txt
lock requirements/teaching.in requirements-teaching.txt
echo "Now list their licenses: make licenses"
