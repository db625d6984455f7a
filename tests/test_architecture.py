"""What the layout promises: imports point downward, files stay small, cheap commands load no torch."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_LINES = 400

#: root folder -> the package that it is
LAYERS = {
    "bitstream": "vqcodec.bitstream",
    "vqcodec": "vqcodec",
    "benchmarks": "vqcodec.benchmarks",
    "cli": "vqcodec.cli",
}
COMMANDS = [
    "compare",
    "complete",
    "completion",
    "decode",
    "doctor",
    "encode",
    "export",
    "generate",
    "info",
    "man",
    "models",
    "quantize_prior",
    "tokenize",
    "tokens",
    "truncate",
    "upscale",
    "weights",
]
#: what each package may import of the project besides itself
MAY_IMPORT = {
    "vqcodec.bitstream": set(),
    "vqcodec": {"vqcodec.bitstream"},
    "vqcodec.benchmarks": {"vqcodec", "vqcodec.bitstream"},
    "vqcodec.cli": {"vqcodec.benchmarks", "vqcodec", "vqcodec.bitstream"},
}
#: the rooms of each package from the ground up: what a room imports of its own package lies in rooms before it.
#: Modules that stand in no room of their own are named by themselves.
ROOMS = {
    "vqcodec": [
        "whole_files",
        "hub",
        "compute",
        "pictures",
        "native",
        "kernels",
        "models",
        "prior",
        "cards",
        "rates",
        "sharing",
        "decoding",
        "encoding",
        "on_torch",
        "codec",
        "pillow",
        "onnx_export",
        "checkpoints",
        "dataset",
        "perceptual",
        "generation",
        "training.data",
        "training.common",
        "training.stage1",
        "training.stage2",
        "training.export",
        "training",
        "",
    ],
    "vqcodec.benchmarks": [
        "common",
        "rate_distortion",
        "pages",
        "speed",
        "kernels",
        "ablation",
        "priors",
        "dataset",
        "hot",
        "",
    ],
    "vqcodec.cli": ["common", "bench", "train", *COMMANDS, "main", ""],
}
BITSTREAM_NEEDS = {"numpy", "constriction", "zstandard"}

MODULES = [path for folder in LAYERS for path in sorted((ROOT / folder).rglob("*.py"))]
PACKAGES = [path for path in MODULES if path.name == "__init__.py"]
ALL_FILES = [*MODULES, *sorted((ROOT / "tests").rglob("*.py"))]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    folder, *inner = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([LAYERS[folder], *(part for part in inner if part != "__init__")])


def layer(module: str) -> str:
    """The package of LAYERS that a module of the project belongs to."""
    top = ".".join(module.split(".")[:2])
    return top if top in LAYERS.values() else "vqcodec"


def room(module: str) -> str:
    """The longest name in ROOMS that a module of a package with rooms lies in; "" for the package's own `__init__`."""
    own = layer(module)
    inner = module.removeprefix(own).lstrip(".")
    fitting = [name for name in ROOMS[own] if inner == name or inner.startswith(f"{name}.")]
    assert fitting or not inner, f"{module} lies in no room: name it in ROOMS"
    return max(fitting, key=len, default="")


@cache
def imports_of(path: Path) -> tuple[str, ...]:
    return tuple(imported_modules(path.read_text(encoding="utf-8")))


def imported_modules(source: str) -> Iterator[str]:
    """Every module that a file imports, anywhere in it; `from . import` gives a name that starts with a point."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                yield f"{module}.{alias.name}" if is_module(f"{module}.{alias.name}") else module


@cache
def is_module(name: str) -> bool:
    """Whether a dotted name is a module of the project: `from vqcodec import cli` names one, `... import Codec` not."""
    folders = {package: folder for folder, package in LAYERS.items()}
    package, inner = layer(name), name.removeprefix(layer(name)).strip(".").replace(".", "/")
    place = ROOT / folders[package] / inner
    return name.split(".")[0] == "vqcodec" and (place.is_dir() or place.with_suffix(".py").is_file())


def test_imports_are_seen_wherever_and_however_they_are_written() -> None:
    source = "import a.b\nfrom c import d\ndef f():\n    from . import e\n    from vqcodec import cli\n"
    assert set(imported_modules(source)) == {"a.b", "c", ".", "vqcodec.cli"}


def test_every_layer_has_modules() -> None:
    assert {relative(path).split("/")[0] for path in MODULES} == set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_imports_are_absolute_and_point_downward(path: Path) -> None:
    own = layer(module_name(path))
    for imported in imports_of(path):
        assert not imported.startswith("."), f"relative import {imported}"
        top = imported.split(".")[0]
        assert top not in LAYERS or top == "vqcodec", f"import of the root folder {imported}: write vqcodec.{imported}"
        if top == "vqcodec":
            assert layer(imported) in {own, *MAY_IMPORT[own]}, f"{own} must not import {imported}"
        elif own == "vqcodec.bitstream":
            assert top in sys.stdlib_module_names | BITSTREAM_NEEDS, f"bitstream must not import {imported}"


@pytest.mark.parametrize("path", [path for path in MODULES if layer(module_name(path)) in ROOMS], ids=relative)
def test_imports_point_down_from_room_to_room(path: Path) -> None:
    module = module_name(path)
    rooms = ROOMS[layer(module)]
    for imported in imports_of(path):
        if imported.split(".")[0] != "vqcodec" or layer(imported) != layer(module) or imported == layer(module):
            continue
        here, there = room(module), room(imported)
        assert rooms.index(there) <= rooms.index(here), f"{module} ({here}) must not import {imported} ({there})"


def rooms_and_imports(package: str) -> str:
    """A line for each room: what it imports of its own package."""
    found: dict[str, set[str]] = {name: set() for name in ROOMS[package] if name}
    for path in MODULES:
        module = module_name(path)
        if layer(module) == package and room(module):
            own = [name for name in imports_of(path) if name.split(".")[0] == "vqcodec" and layer(name) == package]
            found[room(module)] |= {room(name) for name in own} - {room(module), ""}
    order = ROOMS[package].index
    return "".join(
        f"  {name:<17} {', '.join(sorted(imported, key=order)) or '-'}\n" for name, imported in found.items()
    )


@pytest.mark.parametrize("package", ["vqcodec", "vqcodec.benchmarks"])
def test_the_document_lists_what_rooms_import(package: str) -> None:
    assert rooms_and_imports(package) in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_no_module_imports_itself_by_a_circle() -> None:
    imports = {
        module_name(path): {name for name in imports_of(path) if is_module(name)}
        for path in MODULES
        if path.name != "__init__.py"
    }
    sorter = TopologicalSorter({module: names & imports.keys() - {module} for module, names in imports.items()})
    sorter.prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("path", ALL_FILES, ids=relative)
def test_a_file_is_no_longer_than_one_can_see_across(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", PACKAGES, ids=relative)
def test_what_a_package_exports_exists(path: Path) -> None:
    module = importlib.import_module(module_name(path))
    names = getattr(module, "__all__", [])
    assert len(names) == len(set(names))
    for name in names:
        assert hasattr(module, name), name


@pytest.mark.parametrize(
    "statement",
    [
        "import vqcodec",
        "import vqcodec.bitstream",
        "import vqcodec.cards.finding",
        "import vqcodec.cli.main",
        "import vqcodec.pillow",
        "from vqcodec.cli.main import main; main(['--help'], standalone_mode=False)",
        "from vqcodec.cli.main import main; main(['info', '--help'], standalone_mode=False)",
    ],
)
def test_torch_is_not_loaded_by(statement: str) -> None:
    program = f"import sys\n{statement}\nassert 'torch' not in sys.modules, 'torch was loaded'"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
