#!/usr/bin/env bash
# The check on a machine with a graphics card: tests/gpu and benchmarks/gpu.py, in at most eight minutes.
#
#   scripts/check_gpu.sh [FILE.json] [arguments for benchmarks/gpu.py, such as --weights FILE]
#
# PYTHON names an interpreter that has torch and torchvision (default python3). Nothing heavy is installed;
# what is missing of the light libraries is asked of pip once, briefly, and named where it stays missing.
set -u
cd "$(dirname "$0")/.." || exit 2
out=gpu.json
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then out=$1; shift; fi
python=${PYTHON:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$PWD/src:$scratch${PYTHONPATH:+:$PYTHONPATH}"

# keys of results hold the package's version, which an uninstalled checkout does not have
name=whyclass-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml).dist-info
mkdir -p "$scratch/$name"
printf 'Metadata-Version: 2.1\nName: whyclass\nVersion: %s\n' "$(echo "$name" | sed 's/whyclass-//; s/.dist-info//')" \
    >"$scratch/$name/METADATA"

missing() {
    "$python" - <<'PY'
from importlib.util import find_spec
names = dict(typer="typer", rich="rich", jinja2="jinja2", sklearn="scikit-learn", safetensors="safetensors",
             PIL="pillow", scipy="scipy", threadpoolctl="threadpoolctl", pytest="pytest")
print(*(name for module, name in names.items() if find_spec(module) is None))
PY
}

"$python" -c 'import torch, torchvision, numpy' || { echo "$python has no torch, torchvision or numpy" >&2; exit 2; }
lacking=$(missing)
if [ -n "$lacking" ]; then
    echo "missing: $lacking; asking pip, for a minute at most"
    # shellcheck disable=SC2086
    timeout 60 "$python" -m pip install --quiet --disable-pip-version-check --retries 0 --timeout 5 \
        --no-deps --target "$scratch" $lacking joblib narwhals shellingham markdown-it-py mdurl pygments markupsafe iniconfig pluggy click \
        || echo "pip could not install them"
    lacking=$(missing)
    [ -z "$lacking" ] || echo "STILL MISSING, so some stages will break: $lacking"
fi

tests=0
if [ "${SKIP_TESTS:-}" = "" ]; then
    timeout 100 "$python" -m pytest tests/gpu/test_cuda.py tests/pool/test_crops_on_device.py -q -rs -W default -p no:cacheprovider 2>&1 || tests=$?
    echo "tests/gpu ended with $tests"
fi
timeout 360 "$python" benchmarks/gpu.py --out "$out" "$@"
bench=$?
echo "benchmarks/gpu.py ended with $bench; the figures are in $out"
[ "$tests" -eq 0 ] && [ "$bench" -eq 0 ]
