"""What scripts/fuzz feeds mutants to: each target has inputs to begin with, and says what becomes of one.

An outcome is a class of errors that the target may give, or what it gives else. Any other exception is a find.
"""

from __future__ import annotations

import io
import json
import random
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import zstandard

from vqcodec.bitstream import (
    ENTROPY_IDS,
    GridSpec,
    StaticModel,
    StreamError,
    StreamModel,
    TokenGrid,
    TokenPyramid,
    UniformModel,
    quantise_frequencies,
    read_boxes,
    read_header,
    read_stream,
    truncated_sizes,
    write_stream,
)
from vqcodec.bitstream.boxes import Boxes
from vqcodec.bitstream.layout import parse_stream
from vqcodec.bitstream.partial import PartialLevel, block_shape
from vqcodec.bitstream.wire import encode_varint

#: which packed alpha goes without
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
#: pixels of the largest picture that is decoded
MOST_PIXELS = 4096


class Target(ABC):
    """share: of all executions. seconds: of CPU time that no input may take."""

    name: ClassVar[str]
    share: ClassVar[float]
    seconds: ClassVar[float] = 1.0

    def __init__(self, generator: random.Random, model: str) -> None:
        self.generator, self.model = generator, model
        self.rng = np.random.default_rng(generator.getrandbits(32))
        self.seeds = self.made()

    @abstractmethod
    def made(self) -> list[bytes]:
        """Inputs that are as they should be."""

    @abstractmethod
    def outcome(self, data: bytes) -> str:
        """What becomes of an input, without numbers and names of files."""

    def mutant(self) -> bytes:
        """An input with one to eight changes."""
        return changed(self.generator.choice(self.seeds), self.seeds, self.generator)


class Headers(Target):
    """Header, boxes and lengths of streams, without a model."""

    name, share = "headers", 0.60

    def made(self) -> list[bytes]:
        return toy_streams(self.rng)

    def outcome(self, data: bytes) -> str:
        try:
            read_header(data)
            read_boxes(data)
            truncated_sizes(data, allow_partial=True)
        except StreamError as error:
            return type(error).__name__
        return "read"


class Tokens(Target):
    """Streams to tokens, whole and in regions, by tables of frequencies."""

    name, share = "tokens", 0.05

    def made(self) -> list[bytes]:
        return toy_streams(self.rng)

    def mutant(self) -> bytes:
        return mutated_stream(self.seeds, self.generator)

    def outcome(self, data: bytes) -> str:
        part = slice(0, 20) if len(data) % 2 else None
        wanted = (part, part) if part else None
        try:
            read_stream(
                data, lambda _: toy_model(), allow_partial=len(data) % 3 == 0, max_pixels=MOST_PIXELS, wanted=wanted
            )
        except StreamError as error:
            return type(error).__name__
        return "read"


class Streams(Target):
    """Streams to pixels by a model, its prior and, where it is built, the core in C."""

    name, share, seconds = "streams", 0.001, 5.0

    def made(self) -> list[bytes]:
        from vqcodec.codec import Codec

        self.codec, made = Codec.load(self.model, device="cpu"), []
        for entropy, number in ENTROPY_IDS.items():
            if number not in self.codec.model.stream_model.entropy_models:
                continue
            for levels in range(1, self.codec.card.autoencoder.levels + 1):
                for channels in (3, 4):
                    height, width = self.rng.integers(1, 60, 2)
                    pixels = self.rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
                    made.append(self.codec.encode(pixels, levels=levels, entropy=entropy, region_side=32))
                    made.append(self.codec.encode(pixels, quality=100 - 9 * levels, entropy=entropy))
        return made

    def mutant(self) -> bytes:
        return mutated_stream(self.seeds, self.generator)

    def outcome(self, data: bytes) -> str:
        crop = (0, 0, 1, 1) if len(data) % 3 == 0 else None
        try:
            self.codec.decode_stream(data, crop=crop, max_pixels=MOST_PIXELS, allow_partial=len(data) % 2 == 0)
        except StreamError as error:
            return type(error).__name__
        return "decoded"


class Alpha(Target):
    """Packed alpha; the first two bytes are the size of the picture."""

    name, share = "alpha", 0.30

    def made(self) -> list[bytes]:
        from vqcodec.pictures.alpha import pack_alpha

        made = []
        for kind in range(12):
            height, width = (int(side) for side in self.rng.integers(1, 120, 2))
            alpha = self.rng.integers(0, 256, (height, width), np.uint8)
            if kind % 3 == 0:
                alpha = (alpha > 127) * np.uint8(255)
            elif kind % 3 == 1:
                alpha[:] = 0
                alpha[height // 3 : height // 2 + 1, width // 3 :] = 255
            made.append(bytes([height, width]) + pack_alpha(alpha))
        return made

    def mutant(self) -> bytes:
        """Two times in three what is packed is changed, so that it unpacks."""
        if self.generator.randrange(3) == 0:
            return super().mutant()
        data = self.generator.choice(self.seeds)
        unpacked = zstandard.ZstdDecompressor().decompress(ZSTD_MAGIC + data[3:])
        inside = bytearray(changed(unpacked, self.seeds, self.generator))
        if data[2] < 5:  # whose size is that of the picture
            inside = inside[: len(unpacked)].ljust(len(unpacked), b"\1")
        return data[:3] + zstandard.ZstdCompressor(level=1).compress(inside).removeprefix(ZSTD_MAGIC)

    def outcome(self, data: bytes) -> str:
        from vqcodec.pictures.alpha import AlphaError, AlphaRows

        if len(data) < 2:
            return "too short"
        try:
            AlphaRows(data[2:], 1 + data[1], 1 + data[0]).check()
        except AlphaError as error:
            return type(error).__name__
        return "read"


class InFile(Target):
    """Reads files; they are kept in memory where the system has a folder that is."""

    def __init__(self, generator: random.Random, model: str) -> None:
        shared = Path("/dev/shm")
        self._folder = tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None)
        self.path = Path(self._folder.name) / "input"
        super().__init__(generator, model)


class Cards(InFile):
    """Cards of models: bytes changed, or values put in the place of others."""

    name, share = "cards", 0.004

    def made(self) -> list[bytes]:
        from vqcodec.cards.finding import installed_models

        self.path.mkdir()
        return [(folder.path / "card.json").read_bytes() for folder in installed_models()]

    def mutant(self) -> bytes:
        if self.generator.random() < 0.3:
            return super().mutant()
        card = json.loads(self.generator.choice(self.seeds))
        for _ in range(self.generator.randint(1, 3)):
            self._change(card)
        return json.dumps(card).encode()

    def _change(self, value: Any) -> None:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        if not keys:
            return
        key = self.generator.choice(list(keys))
        if isinstance(value[key], dict | list) and value[key] and self.generator.random() < 0.8:
            self._change(value[key])
        else:
            value[key] = self.generator.choice(
                [None, True, -1, 0, 2**40, 1e400, 0.5, "", "x", [], {}, [[]], [None], {"": 0}, "\u202e", [-1, 2**70]]
            )

    def outcome(self, data: bytes) -> str:
        from vqcodec.cards.errors import ModelError
        from vqcodec.cards.model_card import load_model_folder

        (self.path / "card.json").write_bytes(data)
        load_model_folder.cache_clear()
        try:
            load_model_folder(self.path)
        except ModelError:
            return "ModelError"
        return "read"


class Checkpoints(InFile):
    """Files of other projects: what torch.save and safetensors write."""

    name, share = "checkpoints", 0.03

    def made(self) -> list[bytes]:
        import torch
        from safetensors.torch import save

        tensors = {"a.weight": torch.arange(6.0).view(2, 3).t(), "b": torch.ones(3).half(), "c": torch.tensor(3)}
        made = [save({name: tensor.contiguous() for name, tensor in tensors.items()})]
        for content in (tensors, {"state_dict": tensors, "epoch": 3, "hyper": {"x": [1, (2, None)], "y": {3}}}):
            for zipped in (True, False):
                buffer = io.BytesIO()
                torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
                made.append(buffer.getvalue())
        return made

    def outcome(self, data: bytes) -> str:
        from vqcodec.checkpoints.errors import ForeignCheckpointError
        from vqcodec.checkpoints.reading import read_checkpoint

        self.path.write_bytes(data)
        try:
            found = read_checkpoint(self.path).tensors
            for tensor in found.values():
                if np.prod(tensor.shape, dtype=object) <= MOST_PIXELS:
                    tensor.read()
        except ForeignCheckpointError:
            return "ForeignCheckpointError"
        return "read"


class Pictures(Target):
    """Small pictures of every type that Pillow writes."""

    name, share, seconds = "pictures", 0.015, 5.0

    def made(self) -> list[bytes]:
        from PIL import Image

        Image.init()
        made = []
        for mode in ("RGB", "RGBA", "L", "P", "1", "I;16", "CMYK"):
            pixels = self.rng.integers(0, 256, (19, 23, 4), np.uint8)
            image = Image.fromarray(pixels).convert("L" if mode == "I;16" else mode)
            if mode == "I;16":
                image = Image.fromarray(pixels[:, :, :2].copy().view("<u2")[:, :, 0])
            for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "TGA", "AVIF", "ICO"):
                buffer = io.BytesIO()
                try:
                    image.save(buffer, kind)
                except (OSError, KeyError, ValueError):  # types that do not hold this mode
                    continue
                made.append(buffer.getvalue())
        return made

    def outcome(self, data: bytes) -> str:
        from vqcodec.pictures.image import ImageError, load_image

        try:
            load_image(data, metadata="keep", max_pixels=MOST_PIXELS)
        except ImageError:
            return "ImageError"
        return "read"


TARGETS: dict[str, Callable[[random.Random, str], Target]] = {
    target.name: target for target in (Headers, Tokens, Alpha, Cards, Checkpoints, Pictures, Streams)
}


def toy_model() -> StreamModel:
    """Two resolutions and a level of one code, by uniform and static frequencies."""
    sizes = (30, 1, 9)
    tables = [quantise_frequencies(np.arange(size) ** 2 + (size == 1)) for size in sizes]
    grids = (GridSpec(16, sizes[0]), GridSpec(8, sizes[1]), GridSpec(8, sizes[2]))
    return StreamModel(b"fuzz", "toy", grids, {0: UniformModel(), 1: StaticModel(tables)})


def toy_streams(rng: np.random.Generator) -> list[bytes]:
    """Of the toy model: all numbers of levels, whole and in regions, with and without boxes and parts of levels."""
    model, made = toy_model(), []
    for number in range(24):
        levels, side, entropy_id = 1 + number % 3, (0, 16, 32)[number // 3 % 3], number % 2
        width, height = (int(each) for each in rng.integers(1, 64, 2))
        grids = [
            TokenGrid(rng.integers(0, grid.codebook_size, model.grid_shape(level, width, height)), grid.codebook_size)
            for level, grid in enumerate(model.grids[:levels])
        ]
        boxes = Boxes(icc=b"profile" * 9, exif=b"Exif", alpha=b"\0\1") if number % 4 == 0 else None
        coded = rng.random(block_shape(16, width, height)) < 0.5
        partial = PartialLevel(16, coded, 0) if levels > 1 and number % 2 and 0 < coded.mean() < 1 else None
        if partial is not None:
            mask = partial.tokens(model.grids[levels - 1].downsampling_factor, grids[-1].shape).mask
            grids[-1] = TokenGrid(np.where(mask, grids[-1].indices, 0), grids[-1].codebook_size)
        made.append(
            write_stream(
                TokenPyramid(tuple(grids)),
                model=model,
                width=width,
                height=height,
                entropy_id=entropy_id,
                boxes=boxes,
                region_side=side,
                blocks=partial,
            )
        )
    return made


def mutated_stream(seeds: list[bytes], generator: random.Random) -> bytes:
    """Changed anywhere, or, two times in three, in its payloads alone, whose lengths then are right: they are read."""
    stream = generator.choice(seeds)
    if generator.randrange(3) == 0:
        return changed(stream, seeds, generator)
    parsed = parse_stream(stream, allow_partial=False)
    payloads = [bytes(payload) for payload in parsed.payloads]
    for _ in range(generator.randint(1, 2)):
        number = generator.randrange(len(payloads))
        payloads[number] = changed(payloads[number], seeds, generator).rstrip(b"\0")
    around = stream[: parsed.header.size_bytes + len(parsed.box_section)]
    return around + b"".join(encode_varint(len(payload)) + payload for payload in payloads)


def changed(whole: bytes, seeds: list[bytes], generator: random.Random) -> bytes:
    """Bits and bytes changed, inserted, left out, repeated or taken from another input."""
    data = bytearray(whole)
    for _ in range(generator.randint(1, 8)):
        place = generator.randrange(len(data) + 1)
        kind = generator.randrange(6)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << generator.randrange(8)
        elif kind == 1 and place < len(data):
            data[place] = generator.choice((0, 1, 127, 128, 254, 255, generator.randrange(256)))
        elif kind == 2:
            data[place:place] = generator.randbytes(generator.randint(1, 4))
        elif kind == 3:
            del data[place : place + generator.randint(1, 8)]
        elif kind == 4:
            data[place:place] = data[place : place + generator.randint(1, 16)]
        else:
            other = generator.choice(seeds)
            start = generator.randrange(len(other))
            data[place : place + 16] = other[start : start + generator.randint(1, 32)]
    return bytes(data)
