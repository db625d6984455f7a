"""The nearest code vectors: one answer on every device, without ever holding an N x K matrix.

`nearest_codes` gives indices; `assign_codes` also what training needs; `residual_codes` several levels one after the
other. `VQCODEC_KERNELS` says which path computes (`path_for`), `vqcodec.kernels.contract` which code is the nearest.
How the paths work and how fast they are: docs/kernels.md.
"""

from vqcodec.kernels.dispatch import Assignment, KernelError, Path, ResidualCodes, path_for
from vqcodec.kernels.nearest import assign_codes, nearest_codes, residual_codes

__all__ = [
    "Assignment",
    "KernelError",
    "Path",
    "ResidualCodes",
    "assign_codes",
    "nearest_codes",
    "path_for",
    "residual_codes",
]
