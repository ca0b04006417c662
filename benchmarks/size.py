"""How much the project and its data take together, on their way to another machine.

    python -m benchmarks.size

ends with status 1 above 60 MiB. The data lie in `../shared/data`; elsewhere they are left out.
"""

import subprocess
import sys

from benchmarks import ROOT, WHEELS

LIMIT_MIB = 60
SHARED = ROOT.parent / "shared" / "data"


def mebibytes() -> dict[str, float]:
    """Return the MiB of history, as git packs it, of files, wheels, and data where they are."""
    names = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").decode()
    parts = {
        "files": [ROOT / name for name in names.split("\0") if name],
        "wheels": list(WHEELS.glob("*.whl")),
        "data": list(SHARED.rglob("*")),
    }
    sizes = {n: sum(f.stat().st_size for f in files if f.is_file()) for n, files in parts.items()}
    sizes["history"] = len(_git("bundle", "create", "--quiet", "-", "HEAD"))
    return {name: size / 2**20 for name, size in sizes.items()}


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=True).stdout


def main() -> None:
    found = mebibytes()
    print(", ".join(f"{name} {size:.1f} MiB" for name, size in found.items()))
    if not SHARED.is_dir():
        print("skipped: there is no shared/data beside the project")
    elif sum(found.values()) > LIMIT_MIB:
        sys.exit(f"{sum(found.values()):.1f} MiB in all, and {LIMIT_MIB} may travel")


if __name__ == "__main__":
    main()
