#!/usr/bin/env bash
# Renew the two lock files from pyproject.toml. The development lock is compiled against the runtime lock,
# so both name the same versions.
set -euo pipefail
cd "$(dirname "$0")/.."
flags=(--universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 -q "$@")
.venv/bin/uv pip compile "${flags[@]}" --group build --extra parquet --extra serial pyproject.toml -o requirements.lock
.venv/bin/uv pip compile "${flags[@]}" --group dev --extra parquet --extra serial -c requirements.lock pyproject.toml \
  -o requirements-dev.lock
