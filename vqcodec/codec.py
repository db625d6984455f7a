"""The codec: pictures <-> tokens <-> streams. The one place where networks and bitstream meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vqcodec.bitstream import (
    ENTROPY_IDS,
    Boxes,
    Stream,
    StreamModel,
    TokenGrid,
    TokenPyramid,
    read_stream,
    stream_overhead,
    write_stream,
)
from vqcodec.cards.errors import ModelError
from vqcodec.cards.finding import DEFAULT_MODEL, check_model_id, find_model
from vqcodec.cards.model_card import ModelCard, ModelFolder
from vqcodec.cards.weight_files import network_from_file
from vqcodec.compute.devices import choose_device, fast_dtype
from vqcodec.models.autoencoder import Analysis, Autoencoder
from vqcodec.models.building import build_autoencoder
from vqcodec.models.tiled import TiledAutoencoder
from vqcodec.pictures.image import (
    DEFAULT_MAX_PIXELS,
    LoadedImage,
    from_array,
    from_pil,
    from_tensor,
    load_image,
    pack_alpha,
    to_pil,
    to_tensor,
    unpack_alpha,
)
from vqcodec.rates.rate import OperatingPoint, Rate, RateError
from vqcodec.rates.token_choice import TokenChooser

ImageLike: TypeAlias = "LoadedImage | Image.Image | NDArray[np.uint8] | str | Path | bytes | BinaryIO"

#: codec, pixels (H, W, 3) and number of levels to what tokens are chosen from, on the codec's device
Refine: TypeAlias = "Callable[[Codec, NDArray[np.uint8], int], Analysis]"


@dataclass(frozen=True)
class DecodedStream:
    """image: the picture with its alpha, profile and metadata. stream: header, tokens and sizes.

    levels: how many levels the picture was made from. image.warnings says what could not be had.

    Examples:
        >>> stream = Codec.load().encode(np.zeros((32, 48, 3), np.uint8), levels=2)
        >>> Codec.load().decode_stream(stream).levels
        2
    """

    image: LoadedImage
    stream: Stream
    levels: int


class Codec:
    """A model ready to encode and decode. Make one with `Codec.load`; calls from several threads are safe.

    Examples:
        >>> codec = Codec.load()  # "photo-4", the embedded model
        >>> stream = codec.encode(np.zeros((32, 48, 3), np.uint8), max_bytes=40)  # also files and Pillow images
        >>> codec.decode(stream).size, len(stream) <= 40
        ((48, 32), True)
        >>> [tuple(grid.shape) for grid in codec.tokenize(torch.zeros(1, 3, 32, 48), levels=2)]
        [(1, 2, 3), (1, 2, 3)]
    """

    def __init__(self, model: ModelFolder, network: Autoencoder, device: torch.device, dtype: torch.dtype) -> None:
        self.model = model
        self.device = device
        self.dtype = dtype
        self._tiled = TiledAutoencoder(network, device, dtype)
        self.network = self._tiled.network

    @classmethod
    def load(
        cls, name_or_path: str | Path = DEFAULT_MODEL, *, device: str = "auto", dtype: torch.dtype | None = None
    ) -> Codec:
        """Load a model by name, by folder, or by its id in hexadecimal.

        device: auto, cpu, cuda or mps. dtype: of the convolutions; by default bfloat16 where the device multiplies it
        in hardware, else float32. Quantisation is always float32. Raises ModelError or DeviceError.
        """
        model = find_model(name_or_path)
        chosen = choose_device(device)
        return cls(model, load_network(model), chosen, dtype or fast_dtype(chosen))

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self.model.card

    @property
    def default_entropy(self) -> str:
        """The one with the smallest streams that the model has: `prior`, else `static`, else `uniform`."""
        known = self.model.stream_model.entropy_models
        return next(name for name, number in ENTROPY_IDS.items() if number in known)

    def encode(
        self,
        image: ImageLike,
        *,
        levels: int | None = None,
        quality: float | None = None,
        max_bytes: int | None = None,
        bits_per_pixel: float | None = None,
        weight: float = 0.0,
        entropy: str | None = None,
        refine: Refine | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> bytes:
        """A picture as a stream.

        image: a file (path, bytes or binary stream), a Pillow image, (H, W), (H, W, 3) or (H, W, 4) uint8 pixels, or
        what `vqcodec.pictures.image.load_image` gives. levels: 1..L, more is better and larger; all by default.
        quality: 0 to 100, in the place of levels. max_bytes, bits_per_pixel: the stream, boxes and all, is not larger,
        and has up to `levels` levels. weight: of a bit against distortion, see `vqcodec.rates.token_choice`. entropy:
        prior, static (a table of frequencies, larger and faster) or uniform; the first of these that the model has.
        refine: such as `vqcodec.generation.refinement.Refiner`, finds better latents than the Encoder's, in minutes;
        the number of levels is decided with the Encoder's. Raises ImageError for a picture that cannot be read,
        RateError for one that cannot be so small, ValueError for other arguments.
        """
        self.check_pictures()
        loaded = _as_loaded(image, max_pixels)
        entropy_id = self._entropy_id(entropy)  # what is wrong with the arguments is said before the networks run
        self._check_levels(levels)
        rate = Rate(levels, quality, max_bytes, bits_per_pixel, weight)
        tensor = to_tensor(loaded.rgb, self.card.autoencoder.downsampling_factor)
        boxes = Boxes(
            icc=loaded.icc,
            exif=loaded.exif,
            xmp=loaded.xmp,
            alpha=None if loaded.alpha is None else pack_alpha(loaded.alpha),
        )
        if rate.is_plain and refine is None:
            tokens = self._as_pyramid(self.tokenize(tensor, levels=levels))
        else:
            tokens = self._tokens_at(rate, tensor, loaded, entropy_id, boxes, refine)
        return self._write(tokens, loaded.width, loaded.height, entropy_id, boxes)

    def _tokens_at(
        self, rate: Rate, tensor: Tensor, loaded: LoadedImage, entropy_id: int, boxes: Boxes, refine: Refine | None
    ) -> TokenPyramid:
        """The tokens of a picture at a rate that is not plain, or refined."""
        model = self.model.stream_model
        around = stream_overhead(model, loaded.width, loaded.height, entropy_id, boxes)
        pixels = loaded.width * loaded.height
        levels = self.card.autoencoder.levels

        def choose(analysis: Analysis) -> tuple[TokenChooser, OperatingPoint]:
            chooser = TokenChooser(self.network, analysis, model.entropy_models[entropy_id])
            return chooser, rate.point(pixels, levels, lambda point: around + chooser.payload_bytes(point))

        try:
            chooser, point = choose(self.analyse(tensor))
            if refine is not None:
                chooser, point = choose(refine(self, loaded.rgb, point.levels))
        except RateError as error:
            if not boxes:
                raise
            more = around - stream_overhead(model, loaded.width, loaded.height, entropy_id)
            raise RateError(f"{error}; {more} bytes are alpha, profile and metadata", error.smallest) from None
        return chooser.at(point)

    def check_pictures(self) -> None:
        """Raises ModelError for a model of label maps."""
        if self.card.autoencoder.label_map:
            raise ModelError(
                f"model {self.card.name} is of {self.card.autoencoder.label_map}, as conditions of priors: it does not "
                "code pictures; use another --model"
            )

    def write(
        self,
        tokens: list[Tensor],
        width: int,
        height: int,
        *,
        entropy: str | None = None,
        boxes: Boxes | None = None,
    ) -> bytes:
        """The stream of the tokens of one picture of width x height pixels: (1, h, w) of each of the first levels.

        entropy: as in `encode`. boxes: what goes with the picture. Raises ValueError for grids of other shapes than
        `tokenize` gives for such a picture, and for tokens that the codebooks do not have.
        """
        self._check_levels(len(tokens))
        if any(grid.ndim != 3 or len(grid) != 1 for grid in tokens):
            raise ValueError(f"expected the tokens of one picture, (1, h, w), got {[tuple(g.shape) for g in tokens]}")
        return self._write(self._as_pyramid(tokens), width, height, self._entropy_id(entropy), boxes)

    def _write(self, tokens: TokenPyramid, width: int, height: int, entropy_id: int, boxes: Boxes | None) -> bytes:
        model = self.model.stream_model
        return write_stream(tokens, model=model, width=width, height=height, entropy_id=entropy_id, boxes=boxes)

    def decode(self, data: bytes, *, levels: int | None = None, allow_partial: bool = False) -> Image.Image:
        """The picture in a stream, RGB or RGBA; its colour profile and metadata are in `info`.

        levels: use the first so many only. allow_partial: take the whole levels of a stream that is cut off.
        Raises a StreamError for a stream that cannot be decoded or was written with another model.
        """
        image = self.decode_stream(data, levels=levels, allow_partial=allow_partial).image
        return to_pil(image.rgb, image.alpha, image.icc, image.exif, image.xmp)

    def decode_stream(
        self,
        data: bytes,
        *,
        levels: int | None = None,
        allow_partial: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> DecodedStream:
        """Like `decode`, with the tokens and header beside the picture."""
        self.check_pictures()
        stream = self.read(data, allow_partial=allow_partial, max_pixels=max_pixels)
        header, boxes = stream.header, stream.boxes
        present = len(stream.tokens)
        used = present if levels is None else min(self._check_levels(levels), present)
        tensor = self.detokenize(self._as_tensors(stream.tokens.truncated(used)))
        loaded = LoadedImage(
            rgb=from_tensor(tensor, header.width, header.height),
            alpha=None if boxes.alpha is None else unpack_alpha(boxes.alpha, header.width, header.height),
            icc=boxes.icc,
            exif=boxes.exif,
            xmp=boxes.xmp,
            warnings=_partial_warnings(stream),
        )
        return DecodedStream(loaded, stream, used)

    def read(self, data: bytes, *, allow_partial: bool = False, max_pixels: int = DEFAULT_MAX_PIXELS) -> Stream:
        """The tokens of a stream, without running the networks. Raises a StreamError."""
        return read_stream(data, self._expect_model, allow_partial=allow_partial, max_pixels=max_pixels)

    def tokenize(self, images: Tensor, *, levels: int | None = None) -> list[Tensor]:
        """Images (B, 3, H, W) in [-1, 1], H and W multiples of f, to tokens: (B, H / f, W / f) int64 for each level.

        A level of stride s has (B, ceil(H / f / s), ceil(W / f / s)). Raises ValueError for other shapes.
        """
        return self._tiled.tokenize(images, self._check_levels(levels))

    def analyse(self, images: Tensor) -> Analysis:
        """Images as `tokenize` takes them to what tokens are chosen from, on the codec's device."""
        return self._tiled.analyse(images)

    def detokenize(self, tokens: list[Tensor]) -> Tensor:
        """Tokens of the first levels, (B, h, w) each, to images (B, 3, f h, f w) float32, about in [-1, 1].

        h and w are those of the finest level given, times its stride; a level of stride s has ceil(h / s) rows and
        ceil(w / s) columns. Raises ValueError for no levels, too many, or shapes that do not go together.
        """
        self._check_levels(len(tokens))
        return self._tiled.detokenize(tokens)

    def _as_pyramid(self, tokens: list[Tensor]) -> TokenPyramid:
        sizes = self.card.autoencoder.quantizer.codebook_sizes
        return TokenPyramid(tuple(TokenGrid(grid[0].numpy(), size) for grid, size in zip(tokens, sizes, strict=False)))

    def _as_tensors(self, pyramid: TokenPyramid) -> list[Tensor]:
        return [torch.from_numpy(grid.indices.astype(np.int64))[None] for grid in pyramid.levels]

    def _expect_model(self, model_id: bytes) -> StreamModel:
        check_model_id(model_id, self.card)
        return replace(self.model.stream_model, model_id=model_id)

    def _entropy_id(self, entropy: str | None) -> int:
        name = entropy or self.default_entropy
        if name not in ENTROPY_IDS:
            raise ValueError(f"entropy {name!r} is none of {', '.join(ENTROPY_IDS)}")
        if ENTROPY_IDS[name] not in self.model.stream_model.entropy_models:
            what = "prior" if name == "prior" else f"{name} frequencies"
            raise ModelError(f"model {self.card.name} has no {what}; use --entropy {self.default_entropy}")
        return ENTROPY_IDS[name]

    def _check_levels(self, levels: int | None) -> int:
        most = self.card.autoencoder.levels
        if levels is None:
            return most
        if not 1 <= levels <= most:
            raise ValueError(f"levels {levels}: model {self.card.name} has 1 to {most}")
        return levels


def load_network(model: ModelFolder) -> Autoencoder:
    """The networks of a model, float32, on the CPU. Raises ModelError for missing, damaged or other weights."""
    card = model.card
    return network_from_file(
        model.weights_path, card.weights_sha256, f"model {card.name}", lambda: build_autoencoder(card.autoencoder)
    )


def _as_loaded(image: ImageLike, max_pixels: int) -> LoadedImage:
    if isinstance(image, LoadedImage):
        return image
    if isinstance(image, Image.Image):
        return from_pil(image, max_pixels=max_pixels)
    if isinstance(image, np.ndarray):
        return from_array(image)
    return load_image(image, max_pixels=max_pixels)


def _partial_warnings(stream: Stream) -> tuple[str, ...]:
    if stream.complete:
        return ()
    return (
        f"the stream is cut off: {len(stream.tokens)} of {stream.header.level_count} levels are whole, "
        "and its checksum could not be checked",
    )
