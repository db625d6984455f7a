"""The codec: pictures <-> tokens <-> streams. The one place where networks and bitstream meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqcodec.bitstream import (
    ENTROPY_IDS,
    Boxes,
    PartialLevel,
    Stream,
    StreamModel,
    TokenGrid,
    TokenPyramid,
    read_stream,
    write_stream,
)
from vqcodec.bitstream.regions import check_side
from vqcodec.bitstream.source import StreamLike, stream_bytes
from vqcodec.cards.engines import load_core_engine, load_torch_engine, torch_dtype
from vqcodec.cards.errors import ModelError
from vqcodec.cards.finding import DEFAULT_MODEL, check_model_id, find_model
from vqcodec.cards.model_card import ModelCard, ModelFolder
from vqcodec.cards.taken_pictures import check_blocks, check_pictures, check_size, takes_parts
from vqcodec.decoding import Crop, DecodedStream, PictureBands, area_of, bands_of
from vqcodec.encoding import tokens_at
from vqcodec.models.core_engine import CoreEngine
from vqcodec.models.engine import Engine, Floats, TimedStep, Tokens
from vqcodec.on_torch import OnTorch
from vqcodec.pictures.any_image import ImageLike, as_loaded
from vqcodec.pictures.hidden import fill_hidden
from vqcodec.pictures.image import (
    DEFAULT_MAX_PIXELS,
    checked_pixels,
    pack_alpha,
    to_pil,
)
from vqcodec.pictures.row_sources import RowSource
from vqcodec.rates.rate import Rate
from vqcodec.rates.token_choice import ChosenTokens
from vqcodec.sharing import SharedOnHub

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vqcodec.models.autoencoder import Analysis, Autoencoder

#: codec, pixels (H, W, 3) and number of levels to what tokens are chosen from
Refine: TypeAlias = "Callable[[Codec, NDArray[np.uint8], int], Analysis]"


class Codec(SharedOnHub, OnTorch):
    """A model ready to encode and decode. Make one with `Codec.load`; calls from several threads are safe.

    Examples:
        >>> codec = Codec.load()  # "photo-5", the embedded model
        >>> stream = codec.encode(np.zeros((32, 48, 3), np.uint8), max_bytes=40)  # also files and Pillow images
        >>> codec.decode(stream).size, len(stream) <= 40
        ((48, 32), True)
        >>> [tuple(grid.shape) for grid in codec.tokenize(np.zeros((1, 3, 32, 48)), levels=2)]
        [(1, 2, 3), (1, 2, 3)]
    """

    def __init__(self, model: ModelFolder, engine: Engine, device: str = "cpu") -> None:
        """device: where gradients and activations are computed on torch, if `engine` is not torch."""
        self.model = model
        self._engine = engine
        self._device_of_torch = device

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = DEFAULT_MODEL,
        *,
        device: str = "auto",
        dtype: torch.dtype | None = None,
        tile: bool = False,
    ) -> Codec:
        """Load a model by name, by folder, by its id in hexadecimal, or from `hf://OWNER/REPO@REVISION`.

        device: auto, cpu, cuda or mps. With auto and cpu the core in C computes where it was built and knows the
        networks: the same tokens and pixels on every machine, without torch (`VQCODEC_CORE`, see
        `vqcodec.native.library`). Otherwise torch does, with auto on a GPU if there is one. dtype: of torch's
        convolutions, and so asks for torch; by default float32 for networks that the core knows on the CPU, which is
        next to what it gives, for others bfloat16 where the device multiplies it in hardware, else float32.
        Quantisation is always float32. tile: cut large pictures for networks that look at the whole of them, too
        (`vqcodec.models.tiled`). Raises ModelError, HubError, DeviceError or CoreError.
        """
        model = find_model(name_or_path)
        engine = load_core_engine(model, device) if dtype is None else None
        if engine is None:
            return cls(model, load_torch_engine(model, device, dtype or torch_dtype(model, device), tile=tile))
        return cls(model, engine, device)

    @classmethod
    def of_network(cls, model: ModelFolder, network: Autoencoder, device: torch.device, dtype: torch.dtype) -> Codec:
        """On torch, with networks at hand that the model's card describes."""
        from vqcodec.models.torch_engine import TorchEngine

        return cls(model, TorchEngine(network, device, dtype))

    @property
    def arithmetic(self) -> str:
        """What computes: "native", the core in C, or torch in "float32", "bfloat16" or "float16"."""
        return "native" if self.is_exact else str(self.dtype).removeprefix("torch.")

    @property
    def is_exact(self) -> bool:
        """Whether the core computes: the same tokens and pixels on every machine."""
        return isinstance(self._engine, CoreEngine)

    @property
    def place(self) -> str:
        """Where pictures and tokens are computed: "cpu" by the core, else torch's device, such as "cuda:0"."""
        return "cpu" if self.is_exact else str(self.device)

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
        region_side: int = 0,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> bytes:
        """A picture as a stream.

        image: a file (path, bytes or binary stream), a Pillow image, (H, W), (H, W, 3) or (H, W, 4) uint8 pixels, or
        what `vqcodec.pictures.image.load_image` gives. levels: 1..L, more is better and larger; all by default.
        quality: 0 to 100, in the place of levels. max_bytes, bits_per_pixel: the stream, boxes and all, is not larger,
        and has up to `levels` levels. weight: of a bit against distortion, see `vqcodec.rates.token_choice`. entropy:
        prior, static (a table of frequencies, larger and faster) or uniform; the first of these that the model has.
        refine: such as `vqcodec.generation.refinement.Refiner`, finds better latents than the Encoder's, in minutes;
        the number of levels is decided with the Encoder's. region_side: code squares of so many pixels by themselves,
        such as 1024, so that `decode` can read a part; not together with a size of the stream. Raises ImageError for a
        picture that cannot be read, RateError for one that cannot be so small, ModelError for one that the model does
        not take, ValueError for other arguments.
        """
        self.check_pictures()
        loaded = as_loaded(image, max_pixels)
        check_size(self.card, loaded.width, loaded.height)
        entropy_id = self._entropy_id(entropy)  # what is wrong with the arguments is said before the networks run
        self._check_levels(levels)
        rate = Rate(levels, quality, max_bytes, bits_per_pixel, weight)
        check_side(region_side, [grid.downsampling_factor for grid in self.model.stream_model.grids])
        if region_side and (max_bytes is not None or bits_per_pixel is not None):
            raise ValueError("a stream with regions cannot be made of a wanted size: give levels, quality or weight")
        alpha = None if loaded.alpha is None or loaded.alpha.min() == 255 else loaded.alpha
        pixels = fill_hidden(checked_pixels(loaded.rgb), alpha)
        boxes = Boxes(
            icc=loaded.icc,
            exif=loaded.exif,
            xmp=loaded.xmp,
            alpha=None if alpha is None else pack_alpha(alpha),
        )
        if rate.is_plain and refine is None:
            chosen = ChosenTokens(self._as_pyramid(self.tokenize_pixels(pixels, levels=levels)))
        else:
            again = None if refine is None else partial(refine, self)
            chosen = tokens_at(rate, pixels, self.model, self._engine, entropy_id, boxes, again)
        return self._write(chosen.tokens, loaded.width, loaded.height, entropy_id, boxes, region_side, chosen.blocks)

    def check_pictures(self) -> None:
        """Raises ModelError for a model of label maps."""
        check_pictures(self.card)

    def write(
        self,
        tokens: list[Tensor] | list[Tokens],
        width: int,
        height: int,
        *,
        entropy: str | None = None,
        boxes: Boxes | None = None,
        region_side: int = 0,
        blocks: PartialLevel | None = None,
    ) -> bytes:
        """The stream of the tokens of one picture of width x height pixels: (1, h, w) of each of the first levels.

        entropy, region_side: as in `encode`. boxes: what goes with the picture. blocks: where the finest level has
        tokens, if not everywhere, as a `Stream` has it. Raises ValueError for grids of other shapes than `tokenize`
        gives for such a picture, for tokens that the codebooks do not have, and for others than the filler elsewhere.
        """
        self._check_levels(len(tokens))
        if any(grid.ndim != 3 or len(grid) != 1 for grid in tokens):
            raise ValueError(f"expected the tokens of one picture, (1, h, w), got {[tuple(g.shape) for g in tokens]}")
        pyramid = self._as_pyramid([np.asarray(grid[0]) for grid in tokens])
        return self._write(pyramid, width, height, self._entropy_id(entropy), boxes, region_side, blocks)

    def _write(
        self,
        tokens: TokenPyramid,
        width: int,
        height: int,
        entropy_id: int,
        boxes: Boxes | None,
        region_side: int = 0,
        blocks: PartialLevel | None = None,
    ) -> bytes:
        check_size(self.card, width, height)
        return write_stream(
            tokens,
            model=self.model.stream_model,
            width=width,
            height=height,
            entropy_id=entropy_id,
            boxes=boxes,
            region_side=region_side,
            blocks=blocks,
        )

    def decode(
        self,
        stream: StreamLike,
        *,
        levels: int | None = None,
        crop: Crop | None = None,
        allow_partial: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> Image.Image:
        """The picture in a stream, RGB or RGBA; its colour profile and metadata are in `info`.

        stream: its bytes, a path, or a binary file. levels: use the first so many only. crop: (left, top, width,
        height) in pixels: this part alone, the same pixels as of the whole picture; of a stream with regions only those
        are read that are looked at. allow_partial: take the whole levels of a stream that is cut off. max_pixels:
        largest width x height of the whole picture. Raises a StreamError for a stream that cannot be decoded or was
        written with another model, ValueError for a crop beyond the picture, OSError for a file that cannot be read.
        """
        image = self.decode_stream(
            stream, levels=levels, crop=crop, allow_partial=allow_partial, max_pixels=max_pixels
        ).image
        return to_pil(image.rgb, image.alpha, image.icc, image.exif, image.xmp)

    def decode_stream(
        self,
        stream: StreamLike,
        *,
        levels: int | None = None,
        crop: Crop | None = None,
        allow_partial: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> DecodedStream:
        """Like `decode`, with the tokens and header beside the picture. With a crop, tokens far from it may be 0."""
        bands = self.decode_in_bands(
            stream, levels=levels, crop=crop, allow_partial=allow_partial, max_pixels=max_pixels
        )
        return bands.whole()

    def decode_in_bands(
        self,
        stream: StreamLike,
        *,
        levels: int | None = None,
        crop: Crop | None = None,
        allow_partial: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> PictureBands:
        """Like `decode_stream`, for pictures that are too large for memory: tokens are read, pixels not yet painted."""
        self.check_pictures()
        used = self._check_levels(levels)
        data = stream_bytes(stream, mapped=crop is not None)
        read = partial(self.read, data, allow_partial=allow_partial, max_pixels=max_pixels)
        return bands_of(read, self._engine, used, crop and area_of(data, crop))

    def timed_steps(self) -> list[TimedStep]:
        """Of its networks, for measurements of speed: see `vqcodec.models.engine.Engine.timed_steps`."""
        return self._engine.timed_steps()

    def read(
        self,
        stream: StreamLike,
        *,
        allow_partial: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        wanted: tuple[slice, slice] | None = None,
    ) -> Stream:
        """The tokens of a stream, as `decode` takes it, without running the networks.

        wanted: rows and columns of pixels; of a stream with regions, tokens of those that have none of them are 0.
        `Stream.grids` gives them as `detokenize` takes them, where the finest level has tokens in some blocks only.
        Raises a StreamError or, for a size that the model does not take, ModelError.
        """
        read = read_stream(
            stream_bytes(stream),
            self._expect_model,
            allow_partial=allow_partial,
            max_pixels=max_pixels,
            wanted=wanted,
        )
        check_size(self.card, read.header.width, read.header.height)
        check_blocks(self.card, read)
        return read

    @overload
    def tokenize(self, images: Tensor, *, levels: int | None = None) -> list[Tensor]: ...
    @overload
    def tokenize(self, images: Floats, *, levels: int | None = None) -> Sequence[Tokens]: ...
    def tokenize(self, images: Tensor | Floats, *, levels: int | None = None) -> Sequence[Tensor] | Sequence[Tokens]:
        """Images (B, 3, H, W) in [-1, 1], H and W multiples of f, to tokens: (B, H / f, W / f) for each level.

        A level of stride s has (B, ceil(H / f / s), ceil(W / f / s)). torch tensors give int64 tensors on the CPU,
        numpy arrays numpy arrays. Raises ValueError for other shapes.
        """
        levels = self._check_levels(levels)
        if isinstance(images, np.ndarray):
            return self._engine.tokenize(images.astype(np.float32, copy=False), levels)
        if not isinstance(self._engine, CoreEngine):
            return self._on_torch.tiled.tokenize(images, levels)
        import torch

        tokens = self._engine.tokenize(images.detach().float().cpu().numpy(), levels)
        return [torch.from_numpy(grid.astype(np.int64)) for grid in tokens]

    def tokenize_pixels(self, pixels: NDArray[np.uint8] | RowSource, *, levels: int | None = None) -> Sequence[Tokens]:
        """Pixels (H, W, 3) of any size, or their rows, to tokens (rows, cols) of each level, as `encode` writes them.

        Sides are padded to multiples of f. Raises ImageError for other arrays, ValueError for other levels.
        """
        levels = self._check_levels(levels)
        if not isinstance(pixels, np.ndarray):
            check_size(self.card, pixels.width, pixels.height)
            return self._engine.tokenize_rows(pixels, levels)
        checked = checked_pixels(pixels)
        check_size(self.card, checked.shape[1], checked.shape[0])
        return self._engine.tokenize_pixels(checked, levels)

    @overload
    def detokenize(self, tokens: Sequence[Tensor]) -> Tensor: ...
    @overload
    def detokenize(self, tokens: Sequence[Tokens]) -> Floats: ...
    def detokenize(self, tokens: Sequence[Tensor] | Sequence[Tokens]) -> Tensor | Floats:
        """Tokens of the first levels, (B, h, w) each, to images (B, 3, f h, f w) float32, about in [-1, 1].

        h and w are those of the finest level given, times its stride; a level of stride s has ceil(h / s) rows and
        ceil(w / s) columns. Of the finest of two levels or more, -1 stands where there is no token: the picture is one
        of a level less there. torch tensors give a tensor on the CPU, numpy arrays an array. Raises ValueError for no
        levels, too many, shapes that do not go together, or tokens that the codebooks do not have.
        """
        self._check_levels(len(tokens))
        arrays = [grid if isinstance(grid, np.ndarray) else grid.cpu().numpy() for grid in tokens]
        for level, (grid, size) in enumerate(zip(arrays, self.card.autoencoder.quantizer.codebook_sizes, strict=False)):
            least = -1 if takes_parts(self.card) and 0 < level == len(arrays) - 1 else 0
            if grid.size and not least <= grid.min() <= grid.max() < size:
                raise ValueError(f"tokens range over {grid.min()}..{grid.max()}, outside 0..{size - 1}")
        images = self._engine.detokenize(arrays)
        if isinstance(tokens[0], np.ndarray):
            return images
        import torch

        return torch.from_numpy(images)

    def _as_pyramid(self, tokens: Sequence[Tokens]) -> TokenPyramid:
        sizes = self.card.autoencoder.quantizer.codebook_sizes
        return TokenPyramid(tuple(TokenGrid(grid, size) for grid, size in zip(tokens, sizes, strict=False)))

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
