"""Other ways to the nearest codes, to compare with: what people write, and what libraries do.

Each is a function of z (N, D) and codes (K, D) that gives indices (N,). None but ours promises ties or exactness.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Final, TypeAlias

import torch
from torch import Tensor

from vqcodec.kernels import nearest_codes
from vqcodec.kernels.blocked import blocked_nearest

Search: TypeAlias = Callable[[Tensor, Tensor], Tensor]
OURS: Final = "vqcodec"
#: of the N x K matrices of `chunked`, numbers that are held at a time
_CHUNK: Final = 2**22


def plain(z: Tensor, codes: Tensor) -> Tensor:
    """As in the code of Taming Transformers: the whole N x K matrix of squared distances."""
    distances = z.square().sum(dim=1, keepdim=True) + codes.square().sum(dim=1) - 2 * z @ codes.t()
    return distances.argmin(dim=1)


def distances(z: Tensor, codes: Tensor) -> Tensor:
    """torch.cdist, then argmin."""
    return torch.cdist(z.float(), codes.float()).argmin(dim=1)


def chunked(z: Tensor, codes: Tensor) -> Tensor:
    """The matrix product and argmax, as many vectors at a time as leave the matrix in a cache."""
    rows = max(1, _CHUNK // len(codes))
    offsets, transposed = -0.5 * codes.square().sum(dim=1), codes.t()
    return torch.cat([torch.addmm(offsets, chunk, transposed).argmax(dim=1) for chunk in z.split(rows)])


def rivals(names: tuple[str, ...] = (), *, on_gpu: bool = False) -> dict[str, Search]:
    """Ours and those that are installed, by name; only the ones named, if any. Raises ValueError for unknown names.

    on_gpu: our way for CPUs is one of them, too.
    """
    known: dict[str, Callable[[], Search]] = {
        OURS: lambda: nearest_codes,
        "cdist": lambda: distances,
        "chunked": lambda: chunked,
        "torch.compile": lambda: torch.compile(plain),
        "vector-quantize-pytorch": _vector_quantize_pytorch,
        "faiss": _faiss,
    }
    modules = {"vector-quantize-pytorch": "vector_quantize_pytorch"}
    if on_gpu:
        known["vqcodec, blocked"] = lambda: lambda z, codes: blocked_nearest(z, codes, "l2")
    unknown = set(names) - set(known)
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: not known; there are {', '.join(known)}")
    optional = {"vector-quantize-pytorch", "faiss"}
    there = [name for name in known if name not in optional or find_spec(modules.get(name, name)) is not None]
    missing = set(names) - set(there)
    if missing:
        packages = " ".join("faiss-cpu" if name == "faiss" else name for name in sorted(missing))
        raise ValueError(f"{', '.join(sorted(missing))}: not installed; pip install {packages}")
    return {name: known[name]() for name in there if not names or name in names}


def _vector_quantize_pytorch() -> Search:
    """A whole forward pass of its VectorQuantize, which also gathers the codes."""
    from vector_quantize_pytorch import VectorQuantize

    quantizers: dict[tuple[int, ...], torch.nn.Module] = {}

    def search(z: Tensor, codes: Tensor) -> Tensor:
        key = (*codes.shape, codes.data_ptr())
        if key not in quantizers:
            quantizers.clear()
            quantizer = VectorQuantize(codes.shape[1], len(codes)).eval().to(codes.device)
            quantizer._codebook.embed.data[0] = codes
            quantizers[key] = quantizer
        indices: Tensor = quantizers[key](z.float()[None])[1][0]
        return indices

    return search


def _faiss() -> Search:
    """IndexFlatL2 on the CPU, with as many threads as torch has."""
    import faiss

    indexes: dict[tuple[int, ...], object] = {}

    def search(z: Tensor, codes: Tensor) -> Tensor:
        key = (*codes.shape, codes.data_ptr())
        if key not in indexes:
            indexes.clear()
            index = faiss.IndexFlatL2(codes.shape[1])
            index.add(codes.float().cpu().numpy())
            indexes[key] = index
        faiss.omp_set_num_threads(torch.get_num_threads())
        return torch.from_numpy(indexes[key].search(z.float().cpu().numpy(), 1)[1][:, 0])  # type: ignore[attr-defined]

    return search
