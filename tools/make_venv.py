"""Make a virtual environment with pip in it, also where Python comes without ensurepip.

python3 tools/make_venv.py .venv

Debian keeps ensurepip in a package of its own (python3-venv). Where that is missing, pip's wheel
is fetched from PyPI and checked against the hash below; a wheel of pip can install itself.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

WHEEL = "pip-26.3-py3-none-any.whl"
URL = (
    "https://files.pythonhosted.org/packages/07/25/"
    "ee8c38ae72d66b844ce8eb9711ba905dba21ca1a8a0c960057c41cd23337/" + WHEEL
)
SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
INSTALL_VENV = "install Python's venv and pip (Debian: apt install python3-venv) and run make again"


def quiet(*command: str | Path) -> bool:
    """Run a command without a word; whether it went well."""
    done = subprocess.run([str(word) for word in command], capture_output=True, check=False)
    return done.returncode == 0


def pip_from_its_wheel(python: Path) -> None:
    """Let a wheel of pip install itself."""
    print("no ensurepip in this Python: fetching pip from PyPI", flush=True)
    try:
        with urllib.request.urlopen(URL, timeout=60) as answer:
            octets = answer.read()
    except (urllib.error.URLError, OSError) as error:
        sys.exit(f"pip cannot be fetched ({error}); {INSTALL_VENV}")
    if hashlib.sha256(octets).hexdigest() != SHA256:
        sys.exit(f"what came is not {WHEEL}; {INSTALL_VENV}")
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder) / WHEEL
        wheel.write_bytes(octets)
        if not quiet(python, wheel / "pip", "install", "--no-index", "--no-deps", wheel):
            sys.exit(f"pip could not be installed; {INSTALL_VENV}")


def main(folder: Path) -> None:
    python = folder / "bin" / "python"
    if python.exists() and quiet(python, "-m", "pip", "--version"):
        return
    if not quiet(sys.executable, "-m", "venv", "--without-pip", folder):
        sys.exit(f"could not make {folder}; {INSTALL_VENV}")
    if not quiet(python, "-m", "ensurepip", "--default-pip"):
        pip_from_its_wheel(python)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
