"""A model and a prior together: pictures that never were, and pictures of which a part is filled anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqcodec.bitstream import PRIOR_ID
from vqcodec.cards.errors import ModelError
from vqcodec.cards.finding import DEFAULT_MODEL, find_model
from vqcodec.cards.prior_card import PriorCard, PriorFolder, find_prior
from vqcodec.codec import Codec
from vqcodec.generation.conditions import LOW_RESOLUTIONS, Condition, enlarged, like_when_shrunk
from vqcodec.generation.config import FOR_UPSCALING, DrawnLevels, Series
from vqcodec.generation.drawing import Predictor, count_tokens, grid_shapes, picture_seed, sample_tokens
from vqcodec.generation.finer_levels import PriorWithFinerLevels
from vqcodec.generation.masks import Mask, token_masks, without_masked
from vqcodec.models.network_input import in_colour, picture_input
from vqcodec.pictures.image import checked_pixels, from_tensor
from vqcodec.prior.conditions import Conditions
from vqcodec.prior.sequence_config import SequenceConfig


@dataclass(frozen=True)
class SampledPicture:
    """number: in the series, from 0. rgb: (H, W, 3) uint8. tokens: (1, h, w) int64 of each level.

    filled: how many tokens were drawn. bits: -log2 of the probability that the prior gives those, each after what comes
    before it; kept_bits: of the others in the same way, so less where what was filled goes well with what comes after.

    Examples:
        >>> from vqcodec import Sampler, Series
        >>> lower_half = np.arange(32)[:, None] >= np.full(48, 16)
        >>> [picture] = Sampler.load().complete(np.zeros((32, 48, 3), np.uint8), lower_half, Series(levels=1))
        >>> picture.filled, picture.rgb.shape, picture.bits > 0
        (3, (32, 48, 3), True)
    """

    number: int
    rgb: NDArray[np.uint8]
    tokens: list[Tensor]
    filled: int
    bits: float
    kept_bits: float = 0.0


class Sampler:
    """Makes pictures with the prior of a model. Make one with `Sampler.load`.

    Examples:
        >>> from vqcodec import SamplingConfig
        >>> sampler = Sampler.load()  # photo-5 and its prior
        >>> series = Series(2, seed=1, config=SamplingConfig(top_p=0.95), levels=1)
        >>> [picture.rgb.shape for picture in sampler.generate(series, size=(48, 32))]
        [(32, 48, 3), (32, 48, 3)]
    """

    def __init__(self, codec: Codec, prior: PriorFolder, condition: Condition | None = None) -> None:
        """condition: what makes the tokens that the prior is told, where it is told any.

        Raises ModelError for a prior of another model or another condition, or with damaged weights.
        """
        card: PriorCard = prior.card
        codec.check_pictures()
        card.check_model(codec.card)
        if condition and not (card.condition == condition.kind and condition.is_of(card.condition_model_id)):
            raise ModelError(
                f"prior {card.name} is told {card.condition or 'nothing'} (model {card.condition_model_id or 'none'}), "
                f"not {condition.kind} (model {condition.model_id})"
            )
        self.codec, self.card, self.condition = codec, card, condition
        drawn = DrawnLevels.of(codec.card, card.generating_prior)
        dtype = torch.float32 if card.context else codec.dtype  # its whole numbers go beyond those of bfloat16
        own = prior.load().to(codec.device, dtype)
        has_more = drawn.levels > own.config.levels
        #: what all levels are drawn from
        self.prior: Predictor = (
            PriorWithFinerLevels(own, codec.model.stream_model.entropy_models[PRIOR_ID], drawn) if has_more else own
        )

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = DEFAULT_MODEL,
        prior: Path | None = None,
        *,
        condition: str = "",
        condition_model: str | Path | None = None,
        device: str = "auto",
        dtype: torch.dtype | None = None,
    ) -> Sampler:
        """A model as `Codec.load` finds it, and the prior in a folder, by default the model's own.

        condition: the kind that the prior must be told, "" for any or none. condition_model: what makes its tokens, by
        default the installed model of the id that the prior names. dtype: of all networks. Raises ModelError or
        DeviceError.
        """
        codec = Codec.load(name_or_path, device=device, dtype=dtype)
        prior_folder = find_prior(codec.model, prior, condition=condition)
        return cls(codec, prior_folder, load_condition(prior_folder.card, codec, condition_model))

    def condition_of(self, rgb: NDArray[np.uint8]) -> Tensor:
        """What the prior is told of a picture (H, W, 3), for `generate`: (1, C, h, w). Raises ValueError."""
        return self._known_condition()(checked_pixels(rgb)[None])

    def condition_from_map(self, rgb: NDArray[np.uint8]) -> Tensor:
        """The same, where `rgb` shows the condition itself: drawn edges, areas of colour, a blurred picture."""
        return self._known_condition().of_map(checked_pixels(rgb))

    def _check_condition(self, condition: Tensor | None, size: tuple[int, int]) -> None:
        """Raises ValueError for the condition of a picture of another size."""
        config = self.card.generating_prior.condition
        if condition is None or config is None:
            return  # for a prior that is told nothing, it says so itself
        expected = (1, len(config.codebook_sizes), *(-(-side // config.factor) for side in reversed(size)))
        if tuple(condition.shape) != expected:
            raise ValueError(
                f"the condition of {size[0]} x {size[1]} pixels is {expected}, not {tuple(condition.shape)}"
            )

    def _known_condition(self) -> Condition:
        if self.condition is None:
            raise ValueError(f"prior {self.card.name} is told nothing of a picture")
        return self.condition

    @property
    def levels(self) -> int:
        """How many levels pictures are drawn with, from the coarsest: the prior's, and those that the integer prior of
        the model has after them."""
        return self.prior.config.levels

    def count_tokens(self, size: tuple[int, int], levels: int | None = None) -> int:
        """How many tokens a picture of size (width, height) in pixels has in the first levels. Raises ValueError."""
        return count_tokens(self.prior.config, size, levels)

    def generate(
        self,
        series: Series,
        *,
        size: tuple[int, int],
        condition: Tensor | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[SampledPicture]:
        """Pictures of size (width, height) in pixels.

        condition: for a prior that is told any, see `condition_of`, of a picture of this size, the same for all.
        progress: as in `sample_tokens`. Raises ValueError for arguments that the prior does not take.
        """
        self._check(series, size, is_told=condition is not None)
        self._check_condition(condition, size)
        return self._draw(series, size, condition=condition, progress=progress)

    def upscale(
        self,
        rgb: NDArray[np.uint8],
        series: Series | None = None,
        *,
        keep: bool = True,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[SampledPicture]:
        """Pictures that a picture (H, W, 3) may be of at low resolution, larger by `upscaling`.

        series: by default one picture. keep: move the colours of each so that, shrunk, it is `rgb` again to about a
        level of 255. progress: as in `sample_tokens`. Raises ValueError for a prior that is told no low resolution, and
        for arguments that it does not take.
        """
        series = series or Series()
        series = replace(series, config=series.config or FOR_UPSCALING)
        factor, rgb = self.upscaling, checked_pixels(rgb)
        size = rgb.shape[1] * factor, rgb.shape[0] * factor
        condition = self.condition_from_map(enlarged(rgb[None], factor)[0])
        self._check(series, size, is_told=True)
        drawn = self._draw(series, size, condition=condition, progress=progress)
        return (self.with_colours_of(rgb, each) for each in drawn) if keep else drawn

    def with_colours_of(self, low: NDArray[np.uint8], drawn: SampledPicture) -> SampledPicture:
        """What `upscale` makes of a picture (H, W, 3) with `keep`, of what it makes without."""
        return replace(drawn, rgb=like_when_shrunk(drawn.rgb, low, self.upscaling))

    @property
    def upscaling(self) -> int:
        """By how much `upscale` enlarges. Raises ValueError for a prior that is told no low resolution."""
        if self.card.condition not in LOW_RESOLUTIONS:
            raise ValueError(f"prior {self.card.name} is told no picture at low resolution")
        return LOW_RESOLUTIONS[self.card.condition]

    def complete(
        self,
        rgb: NDArray[np.uint8],
        mask: Mask,
        series: Series | None = None,
        *,
        paste: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Iterator[SampledPicture]:
        """Ways to fill the part of a picture (H, W, 3) that the mask (H, W) marks with True.

        Each token with a pixel there, or below such a token of a coarser level, is drawn, all others stay as the
        picture's are; what was under the mask has no influence. The whole picture is decoded from tokens; `paste` puts
        the original pixels back where the mask is False. series: by default one way. progress: as in `sample_tokens`.
        Raises ValueError for arguments that the prior does not take, and for a mask of another size or without any
        True.
        """
        series = series or Series()
        if mask.dtype != np.bool_ or mask.shape != rgb.shape[:2] or not mask.any():
            raise ValueError(
                f"expected a bool mask {rgb.shape[:2]}, True where to fill, got {mask.dtype} {mask.shape} "
                f"with {np.count_nonzero(mask)} True"
            )
        size = rgb.shape[1], rgb.shape[0]
        levels = self._check(series, size)
        images = picture_input(self.codec.card.autoencoder, without_masked(rgb, mask))
        drawn = self._draw(
            replace(series, levels=levels),
            size,
            known=self.codec.tokenize(images, levels=levels),
            masks=token_masks(mask, self.prior.config.factors[:levels]),
            progress=progress,
        )
        if not paste:
            return drawn
        return (replace(each, rgb=np.where(mask[..., None], each.rgb, rgb)) for each in drawn)

    def _draw(
        self,
        series: Series,
        size: tuple[int, int],
        *,
        condition: Tensor | None = None,
        known: Sequence[Tensor] = (),
        masks: Sequence[Tensor] | None = None,
        progress: Callable[[int], object] | None,
    ) -> Iterator[SampledPicture]:
        """The pictures of a series, sampled in batches; each is decoded alone, as `Codec.decode` does.

        condition: (1, C, h, w), of all pictures, or None. known, masks: as in `sample_tokens`.
        """
        for start in range(0, series.count, series.batch_size):
            numbers = range(start, min(start + series.batch_size, series.count))
            labels = None if series.labels is None else torch.tensor(series.labels[start : numbers.stop])
            grid = None if condition is None else condition.expand(len(numbers), -1, -1, -1)
            sampled = sample_tokens(
                self.prior,
                size,
                seeds=[picture_seed(series.seed, number) for number in numbers],
                conditions=Conditions(labels=labels, grid=grid),
                config=series.config,
                levels=series.levels,
                known=known,
                masks=masks,
                progress=progress,
            )
            filled = masks or [torch.ones(grid.shape[1:], dtype=torch.bool) for grid in sampled.tokens]
            for index, number in enumerate(numbers):
                tokens = [grid[index : index + 1] for grid in sampled.tokens]
                bits = [grid[index] for grid in sampled.bits]
                yield SampledPicture(
                    number=number,
                    rgb=from_tensor(in_colour(self.codec.detokenize(tokens)), *size),
                    tokens=tokens,
                    filled=sum(int(mask.sum()) for mask in filled),
                    bits=sum(float(grid[mask].sum()) for grid, mask in zip(bits, filled, strict=True)),
                    kept_bits=sum(float(grid[~mask].sum()) for grid, mask in zip(bits, filled, strict=True)),
                )

    def _check(self, series: Series, size: tuple[int, int], *, is_told: bool = False) -> int:
        """How many levels the pictures have. is_told: whether there is a condition.

        Raises ValueError for levels or labels that the prior does not know, ModelError for what its kind cannot do.
        """
        shapes, config = grid_shapes(self.prior.config, size, series.levels), self.card.generating_prior
        levels = len(shapes)
        if isinstance(config, SequenceConfig):
            if refusal := config.refusal(*shapes[0]):
                raise ModelError(f"prior {self.card.name}: {refusal}; give another --size")
            is_guided = series.config is not None and series.config.guidance > 0
            if config.kind == "taming" and config.classes and (series.labels is None or is_guided):
                raise ModelError(
                    f"prior {self.card.name} needs a class, and knows no picture without one: give --class"
                )
        if self.card.context and self.card.condition and not is_told:
            raise ModelError(f"prior {self.card.name} draws no picture without its condition, {self.card.condition}")
        if self.card.context and series.config is not None and series.config.guidance:
            raise ModelError(
                f"prior {self.card.name} is a context network, which cannot be guided: leave --guidance out"
            )
        if series.labels is not None:
            classes = self.card.generating_prior.classes
            if not classes:
                raise ValueError(f"prior {self.card.name} knows no classes")
            if wrong := [label for label in series.labels if not 0 <= label < classes]:
                raise ValueError(f"label {wrong[0]}: prior {self.card.name} has 0 to {classes - 1}")
        return levels


def load_condition(card: PriorCard, codec: Codec, model: str | Path | None = None) -> Condition | None:
    """What makes the tokens that a prior is told, or None for one that is told nothing.

    codec: of the prior's own model, which is not loaded again. model: name, id or folder, by default the installed one
    of the id that the prior names. Raises ModelError.
    """
    if not card.condition:
        if model:
            raise ModelError(f"prior {card.name} is told nothing of a picture; leave the model of its condition out")
        return None
    if not model and codec.card.can_read(bytes.fromhex(card.condition_model_id)):  # which need not be installed
        return Condition(card.condition, codec)
    model_folder = find_model(model or card.condition_model_id)
    is_loaded = model_folder.card.model_id == codec.card.model_id
    condition_codec = codec if is_loaded else Codec.load(model_folder.path, device=str(codec.device), dtype=codec.dtype)
    return Condition(card.condition, condition_codec)
