"""What `--decode scaled` gains and changes: speed of decoding and of all, and the share of tokens that differ."""

from __future__ import annotations

import argparse
import io
import time

import numpy as np
from PIL import Image

from vqcodec.benchmarks.dataset.making import photos, tell
from vqcodec.codec import Codec
from vqcodec.dataset.shard import decoded
from vqcodec.dataset.spec import TokenSpec
from vqcodec.native.library import use_threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", help="folder or archive; all become JPEG of quality 90, 4:2:0")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 128], help="of the crops")
    parser.add_argument("--enlarge", type=int, default=1, help="pictures first, so many times")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    use_threads(1)
    contents = [as_jpeg(content, options.enlarge) for _, content in photos(options.photos)]
    codec = Codec.load(device="cpu")
    for size in options.sizes:
        compare(codec, contents, size, options.repeat)


def as_jpeg(content: bytes, enlarge: int) -> bytes:
    """A picture as a JPEG file."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    if enlarge > 1:
        image = image.resize((enlarge * image.width, enlarge * image.height), Image.Resampling.LANCZOS)
    image.save(made := io.BytesIO(), "JPEG", quality=90)
    return made.getvalue()


def compare(codec: Codec, contents: list[bytes], size: int, repeat: int) -> None:
    """Print pictures a processor second by both ways, and which share of tokens and by how much pixels differ."""
    rates, crops, tokens = {}, {}, {}
    for how in ("full", "scaled"):
        spec, spent = TokenSpec(size=size, decode=how), []
        for _ in range(repeat):
            before = time.process_time()
            crops[how] = [decoded(content, "", spec)[1][0].pixels for content in contents]
            spent.append(time.process_time() - before)
        before = time.process_time()
        tokens[how] = [[np.asarray(grid) for grid in codec.tokenize_pixels(crop)] for crop in crops[how]]
        both = min(spent) + time.process_time() - before
        rates[how] = round(len(contents) / min(spent), 1), round(len(contents) / both, 1)
    pairs = list(zip(tokens["full"], tokens["scaled"], strict=True))
    differing = [
        np.concatenate([(one[level] != other[level]).ravel() for one, other in pairs])
        for level in range(codec.card.autoencoder.levels)
    ]
    error = np.mean([np.abs(a.astype(int) - b) for a, b in zip(crops["full"], crops["scaled"], strict=True)])
    tell(
        what="decode scaled against full",
        pictures=len(contents),
        megapixels=round(float(np.mean([np.prod(Image.open(io.BytesIO(c)).size) for c in contents])) / 1e6, 2),
        size=size,
        decoded_a_processor_second={how: rate[0] for how, rate in rates.items()},
        decoded_and_tokenized_a_processor_second={how: rate[1] for how, rate in rates.items()},
        share_of_tokens_that_differ=round(float(np.concatenate(differing).mean()), 4),
        of_each_level=[round(float(each.mean()), 4) for each in differing],
        mean_difference_of_pixels=round(float(error), 2),
    )


if __name__ == "__main__":
    main()
