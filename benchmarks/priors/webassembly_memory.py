"""The memory of a WebAssembly module, as a host of the core sees it: copies of arrays and structures go in and out."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_uint32, c_void_p
from pathlib import Path
from typing import Any, Final

_PAGE_BYTES: Final = 1 << 16
_ALIGNMENT: Final = 64


def with_pointers_of_4_bytes(kind: Any) -> Any:
    if not isinstance(kind, type) or not issubclass(kind, ctypes.Structure):
        return c_uint32 if kind is c_void_p else kind
    fields = [(name, with_pointers_of_4_bytes(of)) for name, of in kind._fields_]  # type: ignore[misc]
    return type(f"{kind.__name__}32", (ctypes.Structure,), {"_fields_": fields})


class ModuleMemory:
    """A module that wasmtime runs. sizes: bytes of the arrays that structures point to, by their address."""

    def __init__(self, module: Path) -> None:
        import wasmtime

        self._store = wasmtime.Store()
        instance = wasmtime.Instance(self._store, wasmtime.Module.from_file(self._store.engine, str(module)), [])
        self._exports = instance.exports(self._store)
        self._memory: Any = self._exports["memory"]
        self._base = self._call("vq_heap_base")
        self._top = self._base
        self.sizes: dict[int, int] = {}

    def _call(self, name: str, *arguments: int) -> Any:
        function: Any = self._exports[name]
        return function(self._store, *arguments)

    @contextmanager
    def _fresh(self) -> Iterator[None]:
        """Memory that is free again afterwards."""
        self._top = self._base
        yield

    def _room(self, size: int) -> int:
        at = -(-self._top // _ALIGNMENT) * _ALIGNMENT
        self._top = at + size + _ALIGNMENT
        missing = self._top - self._memory.data_len(self._store)
        if missing > 0:
            self._memory.grow(self._store, -(-missing // _PAGE_BYTES))
        return at

    def _put(self, data: Any, size: int | None = None) -> int:
        """Where a copy lies: of bytes or a structure, or of `size` bytes at an address."""
        content = ctypes.string_at(data, size) if size is not None else bytes(data)
        at = self._room(len(content))
        self._memory.write(self._store, content, at)
        return at

    def _get(self, at: int, size: int, to: int) -> None:
        ctypes.memmove(to, bytes(self._memory.read(self._store, at, at + size)), size)

    def _all(self, structures: Any, kind: Any, parts: Callable[[Any], dict[str, Callable[[], int]]]) -> int:
        return self._put((kind * len(structures))(*(self._filled(each, kind, **parts(each)) for each in structures)))

    def _copied(self, structure: Any, kind: Any, **parts: Callable[[], int]) -> int:
        return self._put(self._filled(structure, kind, **parts))

    def _filled(self, structure: Any, kind: Any, **parts: Callable[[], int]) -> Any:
        """A structure that points into the module's memory, where copies of the arrays lie. parts: those of others."""
        made = kind()
        for (name, of), (_, its) in zip(structure._fields_, kind._fields_, strict=True):
            value = getattr(structure, name)
            if name in parts:
                setattr(made, name, parts[name]())
            elif of is c_void_p:
                setattr(made, name, self._put(value, self.sizes[value]) if value else 0)
            elif isinstance(of, type) and issubclass(of, ctypes.Structure):
                setattr(made, name, self._filled(value, its))
            else:
                setattr(made, name, value)
        return made
