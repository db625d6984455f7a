#!/usr/bin/env python3
"""The second test set: 32 photographs of four kinds in which codecs like this one fail.

Of repositories that no photograph to train on was taken from.

scripts/kinds_set.py CLONES OUT [--side 512]

CLONES has git repositories as CLONES/OWNER+NAME, bare or not; the first that is missing is named. Pictures whose longer
side is more than 512 pixels (--side) are made smaller, and all are written as OUT/KIND/N.png. They are others': not to
be republished.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
from pathlib import Path

from PIL import Image

#: by kind: repository on GitHub, path, and how the SHA-256 of the file begins
PICTURES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "buildings": (
        ("cvg/Hierarchical-Localization", "datasets/sacre_coeur/mapping/02928139_3448003521.jpg", "4f52d9dcdb3ba9d8"),
        ("cvg/Hierarchical-Localization", "datasets/sacre_coeur/mapping/71295362_4051449754.jpg", "f7e7a59fab6f497b"),
        (
            "magicleap/SuperGluePretrainedNetwork",
            "assets/phototourism_sample_images/london_bridge_94185272_3874562886.jpg",
            "39b78b9b7e909ccf",
        ),
        (
            "magicleap/SuperGluePretrainedNetwork",
            "assets/phototourism_sample_images/piazza_san_marco_06795901_3725050516.jpg",
            "32a07bc272b315ff",
        ),
        (
            "magicleap/SuperGluePretrainedNetwork",
            "assets/phototourism_sample_images/piazza_san_marco_58751010_4849458397.jpg",
            "acd9e43d253516b2",
        ),
        (
            "magicleap/SuperGluePretrainedNetwork",
            "assets/phototourism_sample_images/st_pauls_cathedral_30776973_2635313996.jpg",
            "68de07942d852f81",
        ),
        (
            "magicleap/SuperGluePretrainedNetwork",
            "assets/phototourism_sample_images/united_states_capitol_98169888_3347710852.jpg",
            "8ed3a68939b922bc",
        ),
        ("openMVG/ImageDataset_SceauxCastle", "images/100_7104.JPG", "3b18d6112bb68aa1"),
    ),
    "colours": (
        ("libjxl/testdata", "jxl/flower/flower.png.im_q85_444.jpg", "ad991336879e89dc"),
        ("libjxl/testdata", "external/wesaturate/500px/tmshre_riaphotographs_srgb8.png", "fa85b95a14533303"),
        ("IDEA-Research/Grounded-Segment-Anything", "assets/demo3.jpg", "a9011049db02799c"),
        ("scikit-image/scikit-image", "src/_skimage2/data/coffee.png", "cc02f8ca188b167c"),
        ("scikit-image/scikit-image", "src/_skimage2/data/astronaut.png", "88431cd9653ccd53"),
        ("scikit-image/scikit-image", "src/_skimage2/data/motorcycle_left.png", "db18e9c415761740"),
        ("danielgatis/rembg", "examples/animal-3.jpg", "ca6dbda218f4876d"),
        (
            "magicleap/SuperGluePretrainedNetwork",
            "assets/phototourism_sample_images/united_states_capitol_26757027_6717084061.jpg",
            "05ad1e66d7fee2f9",
        ),
    ),
    "plain": (
        ("xuebinqin/U-2-Net", "test_data/test_images/im_01.png", "1e21ceaa4329a737"),
        ("xuebinqin/U-2-Net", "test_data/test_images/lamp2_meitu_1.jpg", "b65bd7de6efeae61"),
        ("xuebinqin/U-2-Net", "test_data/test_images/0002-01.jpg", "f9444593bb49b78a"),
        ("xuebinqin/U-2-Net", "test_data/test_images/im_21.png", "ed9bb4934105e527"),
        ("xuebinqin/U-2-Net", "test_data/test_images/whisk.png", "4eb7b7e9f73fe451"),
        ("scikit-image/scikit-image", "src/_skimage2/data/rocket.jpg", "c2dd0de7c538df8d"),
        ("IDEA-Research/Grounded-Segment-Anything", "assets/demo4.jpg", "49b29517d3a6457b"),
        ("libjxl/testdata", "external/wesaturate/500px/cvo9xd_keong_macan_srgb8.png", "eb9189de8004dd0e"),
    ),
    "text": (
        ("JaidedAI/EasyOCR", "examples/french.jpg", "549784c349af8a87"),
        ("JaidedAI/EasyOCR", "examples/korean.png", "702c3dcc04ac968e"),
        ("JaidedAI/EasyOCR", "examples/thai.jpg", "b8fcfb29dc9da326"),
        ("JaidedAI/EasyOCR", "examples/chinese.jpg", "7d8f231016c6a35d"),
        ("JaidedAI/EasyOCR", "examples/japanese.jpg", "a636f5b3b497aba2"),
        ("eragonruan/text-detection-ctpn", "data/demo/006.jpg", "39aa6c69d0a4003d"),
        ("eragonruan/text-detection-ctpn", "data/demo/007.jpg", "14ac72675bfaa359"),
        ("eragonruan/text-detection-ctpn", "data/demo/009.jpg", "67118d0c38c37ed8"),
    ),
}


def picture(clones: Path, repository: str, path: str, begin: str) -> Image.Image:
    """A picture of a repository. Exits with a line where it is not there, or is another one."""
    folder = clones / repository.replace("/", "+")
    found = subprocess.run(["git", "-C", folder, "cat-file", "blob", f"HEAD:{path}"], capture_output=True, check=False)
    if found.returncode:
        sys.exit(f"{folder}: no {path} there; clone https://github.com/{repository} into it")
    if not hashlib.sha256(found.stdout).hexdigest().startswith(begin):
        sys.exit(f"{folder}: {path} is another picture now; take an older commit")
    return Image.open(io.BytesIO(found.stdout)).convert("RGB")


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=512)
    options = parser.parse_args()
    for kind, sources in PICTURES.items():
        folder = options.out / kind
        folder.mkdir(parents=True, exist_ok=True)
        for number, source in enumerate(sources, start=1):
            image = picture(options.clones, *source)
            scale = min(1.0, options.side / max(image.size))
            size = [round(side * scale) for side in image.size]
            image.resize((size[0], size[1]), Image.Resampling.LANCZOS).save(folder / f"{number}.png")


if __name__ == "__main__":
    main()
