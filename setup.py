"""Builds the core in C, `core/`, as a shared library that `vqcodec.native` loads; pyproject.toml has all the rest.

Without a C compiler vqcodec installs all the same, and computes with torch and numpy.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

CORE = Path("core")
#: no contraction, no fast math: the core gives the same bits everywhere
FLAGS = [
    *("-std=c11", "-O3", "-fno-fast-math", "-ffp-contract=off", "-fno-math-errno"),
    *("-fvisibility=hidden", "-pthread", "-Wno-psabi"),
]


class BuildCore(build_ext):
    """One library for all Pythons: its name says nothing of this one, and it exports no module."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split("."))) + ".so"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return ext.export_symbols


class Wheel(bdist_wheel):
    """For every Python on this platform; for every platform where there was no compiler."""

    def get_tag(self) -> tuple[str, str, str]:
        platform = super().get_tag()[2]
        built = any(Path(self.bdist_dir).rglob("_core.so"))
        return "py3", "none", platform if built else "any"


setup(
    ext_modules=[
        Extension(
            "vqcodec.native._core",
            sources=sorted(map(str, CORE.glob("*.c"))),
            depends=sorted(map(str, CORE.glob("*.h"))),
            extra_compile_args=FLAGS,
            extra_link_args=["-pthread"],
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildCore, "bdist_wheel": Wheel},
)
