"""Which pictures and streams a model takes, by its card. Imports no torch."""

from __future__ import annotations

from vqcodec.bitstream import CorruptStreamError, Stream
from vqcodec.cards.errors import ModelError
from vqcodec.cards.model_card import ModelCard


def check_pictures(card: ModelCard) -> None:
    """Raises ModelError for a model of label maps."""
    shape = card.autoencoder
    if shape.label_map:
        raise ModelError(
            f"model {card.name} is of {shape.label_map}, as conditions of priors: it does not code pictures; use "
            "another --model"
        )
    if shape.channels not in (1, 3):
        raise ModelError(
            f"model {card.name} takes maps of {shape.channels} classes and no pictures; use another --model, or "
            "`Codec.tokenize`"
        )


def check_size(card: ModelCard, width: int, height: int) -> None:
    """Raises ModelError for a model whose pictures all have one size, another than width x height pixels."""
    side = card.autoencoder.picture_side
    if side and (width, height) != (side, side):
        raise ModelError(
            f"model {card.name} takes pictures of {side} x {side} pixels only, and this one has {width} x {height}; "
            "crop or resize it, or use another --model"
        )


def takes_parts(card: ModelCard) -> bool:
    """Whether the finest of several levels may have tokens in some places only: not where codes are interpolated."""
    return not card.autoencoder.quantizer.level_grids


def check_blocks(card: ModelCard, stream: Stream) -> None:
    """Raises CorruptStreamError for a stream with a part of a level that the model cannot decode."""
    if stream.blocks is not None and not takes_parts(card):
        raise CorruptStreamError(
            f"the finest level has tokens in a part of the picture only, which model {card.name} cannot have; the file "
            "is damaged"
        )
