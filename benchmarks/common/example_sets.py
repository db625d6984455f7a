"""What the rows of an ablation are trained on and measured on: the user's pictures, or generated ones."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from vqcodec.pictures.arrays import Pixels
from vqcodec.training.data.pictures import ArrayPictures, PictureSet
from vqcodec.training.data.toy_shapes import toy_pictures
from vqcodec.training.data.types import DataError, Pictures

#: one picture in so many is held out
HELD_OUT_EVERY: Final = 10
#: pictures of the user that are looked at, evenly spaced where there are more
MOST_PICTURES: Final = 1000
#: generated pictures: to learn from, and held out
TOY_PICTURES = (2048, 256)
#: held-out pictures are measured on a central square of at most so many crops along a side
_MOST_CROPS: Final = 3


@dataclass(frozen=True)
class ExampleSets:
    """name: of the folder or file, without those above it. side: of the central squares that are measured, pixels.

    crc32: of the pixels of all pictures, in their order.
    """

    name: str
    training: Pictures
    held_out: Pictures
    side: int
    crc32: int

    def describe(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "name": self.name,
            "training_pictures": len(self.training),
            "held_out_pictures": len(self.held_out),
            "measured_side": self.side,
            "crc32": self.crc32,
        }


class Part:
    """Some pictures of a set, by their places in it: a Pictures without labels."""

    classes: tuple[str, ...] = ()

    def __init__(self, pictures: Pictures, places: list[int]) -> None:
        self._pictures, self._places = pictures, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Pixels:
        return self._pictures[self._places[index]]

    def label(self, index: int) -> None:
        """None: there are no labels."""

    def item(self, index: int) -> tuple[Pixels, None]:
        """The picture at `index`, and None."""
        return self[index], None


def toy_data(crop_size: int, seed: int, counts: tuple[int, int] | None = None) -> ExampleSets:
    """Toy shapes of `crop_size` pixels along a side, held-out ones from the next seed. Raises ValueError under 16.

    counts: of pictures to learn from, and held out; by default TOY_PICTURES.
    """
    numbers = enumerate(counts or TOY_PICTURES)
    training, held_out = (toy_pictures(count, crop_size, seed + place)[0] for place, count in numbers)
    crc32 = zlib.crc32(held_out.tobytes(), zlib.crc32(training.tobytes()))
    return ExampleSets("toy shapes", ArrayPictures(training), ArrayPictures(held_out), crop_size, crc32)


def picture_data(place: Path, crop_size: int, at_most: int = MOST_PICTURES) -> ExampleSets:
    """The pictures of a folder or file as PictureSet reads it; the first, the eleventh, ... are held out.

    at_most: pictures that are looked at, evenly spaced where there are more.

    Of equal pictures one is taken, so that none is on both sides; unusable ones and those with a side under
    `crop_size` are named in the log and left out. Raises DataError when there are fewer than two, OSError.
    """
    pictures = PictureSet([place], minimum_side=crop_size)
    wanted = min(len(pictures), at_most)
    place_by_crc32: dict[int, int] = {}  # by CRC-32: in the place of an unusable picture the set gives a neighbour
    smallest = 0
    for place_in_set in np.linspace(0, len(pictures) - 1, wanted).round().astype(int).tolist():
        pixels = pictures[place_in_set]
        place_by_crc32.setdefault(zlib.crc32(pixels.tobytes()), place_in_set)
        smallest = min(smallest or pixels.shape[0], *pixels.shape[:2])
    if len(place_by_crc32) < 2:
        raise DataError(f"{place}: one picture to learn from and to measure; give at least two that differ")
    places = list(place_by_crc32.values())
    held_out = places[::HELD_OUT_EVERY]
    training = [number for index, number in enumerate(places) if index % HELD_OUT_EVERY]
    return ExampleSets(
        name=place.resolve().name,
        training=Part(pictures, training),
        held_out=Part(pictures, held_out),
        side=crop_size * min(_MOST_CROPS, max(1, smallest // crop_size)),
        crc32=zlib.crc32(np.array(list(place_by_crc32), dtype=np.uint32).tobytes()),
    )
