"""Compare what a wheel holds with what a checkout says that it should hold: exit code 1 where they differ.

usage: python scripts/wheel_contents.py WHEEL CHECKOUT
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

#: root folder -> where the wheel has it
PLACES = {
    "vqcodec": "vqcodec",
    "bitstream": "vqcodec/bitstream",
    "cli": "vqcodec/cli",
    "benchmarks": "vqcodec/benchmarks",
}
#: below these roots, but for use in a checkout only
NOT_SHIPPED = ("benchmarks/hot",)
#: files besides modules, by the patterns of their names in the checkout -> the folder that the wheel has instead of it
DATA = {
    "vqcodec/py.typed": "vqcodec",
    "vqcodec/pretrained/*/card.json": "vqcodec",
    "vqcodec/pretrained/*/*.safetensors": "vqcodec",
    "vqcodec/pretrained/*/prior*/*": "vqcodec",
    "vqcodec/kernels/*.cu*": "vqcodec",
    "benchmarks/pages/templates/*": "vqcodec/benchmarks",
}
MANUAL = "man/vqcodec.1"
#: in wheels for one platform
CORE = "vqcodec/native/_core.so"


def expected(checkout: Path) -> set[str]:
    """The files of the package, by their names in the wheel, and the manual page where the checkout has it."""
    names = set()
    for root, place in PLACES.items():
        for path in (checkout / root).rglob("*.py"):
            inner = path.relative_to(checkout)
            if inner.parent.as_posix() not in NOT_SHIPPED:
                names.add(f"{place}/{inner.relative_to(root).as_posix()}")
    for pattern, place in DATA.items():
        for path in checkout.glob(pattern):
            names.add(f"{place}/{path.relative_to(checkout / pattern.split('/')[0]).as_posix()}")
    if (checkout / MANUAL).is_file():
        names.add("share/man/man1/vqcodec.1")
    return names


def held(wheel: Path) -> set[str]:
    """The files in a wheel but for its own description, by the names that they are installed under."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/") and ".dist-info/" not in name}
    return {name.partition(".data/data/")[2] or name for name in names}


def differences(wheel: Path, checkout: Path) -> list[str]:
    """A line for each file that is missing or that is there without reason."""
    inside, wanted = held(wheel), expected(checkout) | (set() if wheel.stem.endswith("-any") else {CORE})
    return [f"missing: {name}" for name in sorted(wanted - inside)] + [
        f"not expected: {name}" for name in sorted(inside - wanted)
    ]


def main() -> None:
    """Print the differences."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    wheel, checkout = map(Path, sys.argv[1:])
    lines = differences(wheel, checkout)
    print("\n".join(lines) or f"{wheel.name}: {len(held(wheel))} files, all that are expected and no others")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
