"""Tokens of a picture at a rate: the networks, the entropy model and the bytes around them brought together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vqcodec.bitstream import Boxes
from vqcodec.cards.model_card import ModelFolder
from vqcodec.cards.taken_pictures import takes_parts
from vqcodec.models.engine import Engine
from vqcodec.pictures.arrays import Pixels
from vqcodec.rates.rate import OperatingPoint, Rate, RateError
from vqcodec.rates.token_choice import ChosenTokens, PictureStream, TokenChooser


def tokens_at(
    rate: Rate,
    pixels: Pixels,
    model: ModelFolder,
    engine: Engine,
    entropy_id: int,
    boxes: Boxes,
    refine: Callable[[Pixels, int], Any] | None,
) -> ChosenTokens:
    """The tokens of pixels (H, W, 3) at a rate that is not plain, or refined.

    boxes: what goes with the picture, and counts. refine: pixels and number of levels to what tokens are chosen from.
    Raises RateError for a picture that cannot be so small.
    """
    shape, (height, width) = model.card.autoencoder, pixels.shape[:2]
    stream = PictureStream(model.stream_model, (width, height), entropy_id, boxes)

    def choose(analysis: Any, most: int | None = None) -> tuple[TokenChooser, OperatingPoint]:
        """most: for how many levels refined latents were found; by default the analysis is the Encoder's."""
        nearest_levels = shape.coarse_levels if most is not None and most > shape.coarse_levels else 0
        chooser = TokenChooser(engine, analysis, stream, nearest_levels)
        within = rate if most is None or rate.quality is not None else replace(rate, levels=most)
        point = within.point(width * height, shape.levels, chooser.stream_bytes, parts=takes_parts(model.card))
        return chooser, point

    try:
        chooser, point = choose(engine.analyse(pixels))
        if refine is not None:
            chooser, point = choose(engine.analysis_of(refine(pixels, point.levels)), point.levels)
    except RateError as error:
        if not boxes:
            raise
        more = stream.bytes_around(None) - replace(stream, boxes=Boxes()).bytes_around(None)
        raise RateError(f"{error}; {more} bytes are alpha, profile and metadata", error.smallest) from None
    return chooser.at(point)
