#!/bin/sh
# Make requirements/colab.txt from requirements/colab.in: the versions that Colab has preinstalled, with their hashes.
# Colab publishes them in googlecolab/backend-info; of its lists this reads the one of a machine without a GPU. There a
# package that is locked by address (torch, from PyTorch's own index) becomes a version, and what comes with it goes.
set -eu
cd "$(dirname "$0")/.."
command -v uv >/dev/null || { echo "make lock-colab needs uv: pip install uv" >&2; exit 1; }
lists=$(mktemp -d)
trap 'rm -rf "$lists"' EXIT
git clone --quiet --depth 1 https://github.com/googlecolab/backend-info "$lists/colab"
python=$(sed -n 's/^Python \([0-9]*\.[0-9]*\).*/\1/p' "$lists/colab/os-info.txt")
sed -E -e 's#^([A-Za-z0-9_.-]+) @ .*/[A-Za-z0-9_.]+-([0-9.]+)(%2B[^-]*)?-[^/]*\.whl$#\1==\2#' \
    -e '/ @ /d' -e '/^(nvidia|cuda|triton)/d' "$lists/colab/pip-freeze.txt" >"$lists/versions.txt"
date=$(git -C "$lists/colab" log -1 --format='%h of %cs')
uv pip compile --quiet --upgrade --python-version "$python" --python-platform x86_64-manylinux_2_28 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-annotate --constraints "$lists/versions.txt" \
    --custom-compile-command "make lock-colab  (Colab's Python $python and packages, googlecolab/backend-info $date)" \
    requirements/colab.in -o requirements/colab.txt
echo "requirements/colab.txt: $(grep -c '==' requirements/colab.txt) packages"
