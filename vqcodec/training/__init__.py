"""Training of both stages, and what becomes of a finished run: a model on disk.

    from vqcodec.training import PRESETS, PictureSet, Stage1Trainer, export_model

Names are loaded on first use. What the commands `vqcodec train` and `vqcodec export` do, they do with these.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqcodec.training.data.crops import CropConfig
    from vqcodec.training.data.pictures import ArrayPictures, PictureSet
    from vqcodec.training.export import export_entropy_prior, export_model, export_prior
    from vqcodec.training.stage1.presets import PRESETS
    from vqcodec.training.stage1.recipe import Stage1Config, Stage1Recipe
    from vqcodec.training.stage1.trainer import Stage1Trainer
    from vqcodec.training.stage2.context_recipe import ContextRecipe, ContextTraining
    from vqcodec.training.stage2.context_trainer import ContextTrainer
    from vqcodec.training.stage2.crop_tokens import PictureTokens
    from vqcodec.training.stage2.recipe import Stage2Config, Stage2Recipe
    from vqcodec.training.stage2.trainer import Stage2Trainer

_HOMES = {
    "PRESETS": "vqcodec.training.stage1.presets",
    "ArrayPictures": "vqcodec.training.data.pictures",
    "ContextRecipe": "vqcodec.training.stage2.context_recipe",
    "ContextTrainer": "vqcodec.training.stage2.context_trainer",
    "ContextTraining": "vqcodec.training.stage2.context_recipe",
    "CropConfig": "vqcodec.training.data.crops",
    "PictureSet": "vqcodec.training.data.pictures",
    "PictureTokens": "vqcodec.training.stage2.crop_tokens",
    "Stage1Config": "vqcodec.training.stage1.recipe",
    "Stage1Recipe": "vqcodec.training.stage1.recipe",
    "Stage1Trainer": "vqcodec.training.stage1.trainer",
    "Stage2Config": "vqcodec.training.stage2.recipe",
    "Stage2Recipe": "vqcodec.training.stage2.recipe",
    "Stage2Trainer": "vqcodec.training.stage2.trainer",
    "export_entropy_prior": "vqcodec.training.export",
    "export_model": "vqcodec.training.export",
    "export_prior": "vqcodec.training.export",
}

__all__ = [
    "PRESETS",
    "ArrayPictures",
    "ContextRecipe",
    "ContextTrainer",
    "ContextTraining",
    "CropConfig",
    "PictureSet",
    "PictureTokens",
    "Stage1Config",
    "Stage1Recipe",
    "Stage1Trainer",
    "Stage2Config",
    "Stage2Recipe",
    "Stage2Trainer",
    "export_entropy_prior",
    "export_model",
    "export_prior",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vqcodec.training' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
