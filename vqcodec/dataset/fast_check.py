"""What --fast changes: the share of tokens that bfloat16 makes otherwise than exact arithmetic does."""

from __future__ import annotations

from typing import Final

import numpy as np

from vqcodec.dataset.files import Files
from vqcodec.dataset.plan import TokenPlan, model_of
from vqcodec.dataset.reading import pictures
from vqcodec.dataset.shard import decoded
from vqcodec.dataset.tokenizer import Tokenizer, numeric_profile
from vqcodec.pictures.image import ImageError

_PICTURES: Final = 64


def changed_share(plan: TokenPlan, device: str = "auto") -> float:
    """Of the tokens of the first 64 pictures of a plan with `fast`; 0 for one without. Raises DatasetError."""
    if not plan.spec.fast:
        return 0.0
    planned, crops = plan.shard_rows(0), []
    contents = pictures(Files(), planned.rows[:_PICTURES], plan.spec.image)
    for key, content in zip(planned.keys, contents, strict=False):
        try:
            crops += [crop.pixels for crop in decoded(content, key, plan.spec)[1]]
        except ImageError:
            continue
    if not crops:
        return 0.0
    model, size = model_of(plan), plan.spec.size
    exact = Tokenizer(model, plan.levels, numeric_profile(model, "cpu", fast=False), size=size, device="cpu")
    fast = Tokenizer(model, plan.levels, plan.profile, size=size, device=device)
    same = total = 0
    for one, other in zip(exact.tokens(crops), fast.tokens(crops), strict=True):
        for before, after in zip(one, other, strict=True):
            same += int(np.count_nonzero(np.asarray(before) == np.asarray(after)))
            total += before.size
    return 1 - same / total
