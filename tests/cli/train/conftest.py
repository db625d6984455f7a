"""The fixtures of `training_fixtures`, for the tests of this folder."""

from __future__ import annotations

from training_fixtures import one_seed_for_all, pictures, prior_trainer, train_stage2, trainer

__all__ = ["one_seed_for_all", "pictures", "prior_trainer", "train_stage2", "trainer"]
