"""Names of tensors as the projects have them -> names of our modules, which are those of taming-transformers.

The patterns were written after the state dicts that the official classes have; see `vqcodec.checkpoints.families` for
the repositories.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

#: pattern and replacement; {up} in a replacement is the stage counted from the other end
Rules: TypeAlias = Sequence[tuple[str, str]]
#: official name and number of stages -> our name
Rename: TypeAlias = Callable[[str, int], str]

_LLAMAGEN: Final[Rules] = (
    (r"^encoder\.conv_blocks\.(\d+)\.res\.", r"encoder.down.\1.block."),
    (r"^encoder\.conv_blocks\.(\d+)\.", r"encoder.down.\1."),
    (r"^decoder\.conv_blocks\.(\d+)\.res\.", r"decoder.up.{up}.block."),
    (r"^decoder\.conv_blocks\.(\d+)\.", r"decoder.up.{up}."),
    (r"\.mid\.0\.", ".mid.block_1."),
    (r"\.mid\.1\.", ".mid.attn_1."),
    (r"\.mid\.2\.", ".mid.block_2."),
)
_DIFFUSERS: Final[Rules] = (
    (r"^encoder\.down_blocks\.(\d+)\.", r"encoder.down.\1."),
    (r"^decoder\.up_blocks\.(\d+)\.", r"decoder.up.{up}."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.resnets\.", ".block."),
    (r"\.attentions\.", ".attn."),
    (r"\.(downsample|upsample)rs\.0\.", r".\1."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.(group_norm|spatial_norm)\.", ".norm."),
    (r"\.(to_out\.0|proj_attn)\.", ".proj_out."),
    (r"\.(to_q|query)\.", ".q."),
    (r"\.(to_k|key)\.", ".k."),
    (r"\.(to_v|value)\.", ".v."),
    (r"\.conv_norm_out\.", ".norm_out."),
)


def _renaming(rules: Rules) -> Rename:
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]

    def rename(name: str, stages: int) -> str:
        for pattern, replacement in compiled:
            found = pattern.search(name)
            if found and "{up}" in replacement:
                name = pattern.sub(replacement.replace("{up}", str(stages - 1 - int(found[1]))), name)
            else:
                name = pattern.sub(replacement, name)
        return name

    return rename


def _same(name: str, stages: int) -> str:
    return name


LLAMAGEN: Final = _renaming(_LLAMAGEN)
DIFFUSERS: Final = _renaming(_DIFFUSERS)
TAMING: Final[Rename] = _same
