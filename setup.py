"""Builds the core in C, `core/`, as a shared library that `vqcodec.native` loads; pyproject.toml has all the rest.

Without a C compiler vqcodec installs all the same, and computes with torch and numpy. CC names the compiler.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError, CompileError

CORE = Path("core")
#: where an editable installation has it
IN_PLACE = Path("vqcodec", "native", "_core.so")
#: No contraction, no fast math: the core gives the same bits everywhere. They stand after those of CFLAGS, which they
#: undo; for the linker, too, as fast math there would change the arithmetic of the whole process.
FLAGS = [
    *("-std=c11", "-O3", "-fno-fast-math", "-fno-unsafe-math-optimizations", "-fno-finite-math-only"),
    *("-ffp-contract=off", "-fno-math-errno", "-fno-lto", "-fvisibility=hidden", "-pthread", "-Wno-psabi"),
]


class BuildCore(build_ext):
    """One library for all Pythons: its name says nothing of this one, and it exports no module."""

    def run(self) -> None:
        own = (sysconfig.get_config_var("CC") or "cc").split()[0]  # what this Python was made with, maybe elsewhere
        others = [name for name in ("cc", "gcc", "clang") if shutil.which(name)]
        if "CC" not in os.environ and not shutil.which(own) and others:
            os.environ["CC"] = others[0]
        super().run()

    def build_extension(self, ext: Extension) -> None:
        Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)  # made of other sources, or by other flags
        try:
            if self.compiler.compiler_type == "msvc":
                raise CompileError("MSVC lacks the vectors that it is written in")
            super().build_extension(ext)
        except (BaseError, CCompilerError) as error:
            reason = str(error).partition("Command '[")[0] or "the compiler failed, see above"
            remedy = "numpy and torch compute in its place. It needs gcc or clang; CC names another one"
            print(f"vqcodec: the core in C was not built ({reason}): {remedy}", file=sys.stderr)

    def copy_extensions_to_source(self) -> None:
        IN_PLACE.unlink(missing_ok=True)
        super().copy_extensions_to_source()

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return ext.export_symbols


class Wheel(bdist_wheel):
    """For every Python on this platform; for every platform where there was no compiler."""

    def get_tag(self) -> tuple[str, str, str]:
        platform = super().get_tag()[2]
        built = any(Path(self.bdist_dir).rglob(IN_PLACE.name))
        return "py3", "none", platform if built else "any"


setup(
    ext_modules=[
        Extension(
            "vqcodec.native._core",
            sources=sorted(map(str, CORE.glob("*.c"))),
            depends=sorted(map(str, CORE.glob("*.h"))),
            extra_compile_args=FLAGS,
            extra_link_args=FLAGS,
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildCore, "bdist_wheel": Wheel},
)
