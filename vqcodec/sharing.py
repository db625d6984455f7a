"""What a codec can do with the hub: be loaded from it, be saved as a folder for it, and be put there with a page.

Only card and safetensors files are written; `vqcodec.cards.model_files` lists them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vqcodec.cards.installing import copy_model
from vqcodec.cards.model_card import ModelFolder
from vqcodec.cards.model_page import Example, model_page
from vqcodec.hub.addresses import SCHEME, HubAddress, is_hub_address, parse_hub_address
from vqcodec.hub.downloads import hub, told
from vqcodec.pictures.any_image import as_loaded
from vqcodec.pictures.image import DEFAULT_MAX_PIXELS, to_pil
from vqcodec.whole_files import write_whole

if TYPE_CHECKING:
    from typing_extensions import Self

PAGE_FILE = "README.md"
SHEET_FILE = "examples.jpg"
#: widest side of a picture on the sheet, in pixels
_SHEET_SIDE = 512


class SharedOnHub(ABC):
    """The methods of `Codec` about repositories. model: what is shared."""

    model: ModelFolder

    @classmethod
    @abstractmethod
    def load(cls, name_or_path: str | Path) -> Self:
        """As `Codec.load`."""

    @abstractmethod
    def encode(self, image: Any) -> bytes:
        """As `Codec.encode`."""

    @abstractmethod
    def decode(self, data: bytes) -> Image.Image:
        """As `Codec.decode`."""

    @classmethod
    def from_pretrained(cls, name: str | Path, *, revision: str = "", **options: Any) -> Self:
        """A model in a repository, OWNER/REPO or hf://OWNER/REPO, or in a folder.

        revision: a commit, tag or branch; a commit that is in the cache costs no request. options: of `load`. Raises
        ModelError, HubError.
        """
        if Path(name).is_dir():
            return cls.load(Path(name), **options)
        text = str(name) if is_hub_address(str(name)) else f"{SCHEME}{name}"
        return cls.load(str(parse_hub_address(text, revision)), **options)

    def save_pretrained(self, folder: str | Path, *, examples: Sequence[Any] = ()) -> None:
        """Write the model, its priors, and a page, README.md, into `folder`.

        examples: pictures, as `encode` takes them: the page gets what the codec makes of them, with sizes and PSNR. In
        the model's own folder only the page is written. Raises ImageError, and OSError where nothing can be written.
        """
        originals = [as_loaded(example, DEFAULT_MAX_PIXELS) for example in examples]
        target = Path(folder)
        copy_model(self.model, target)
        pictures, made = [], []
        for original in originals:
            stream = self.encode(original)
            image, seen = self.decode(stream).convert("RGB"), to_pil(original.rgb)
            pictures += [seen, image]
            made.append(Example(image.size, len(stream), _psnr(seen, image)))
        if pictures:
            write_whole(target / SHEET_FILE, _sheet(pictures))
        sheet = SHEET_FILE if pictures else ""
        write_whole(target / PAGE_FILE, model_page(self.model.card, made, sheet=sheet))

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool = False,
        message: str = "",
        tag: str = "",
        examples: Sequence[Any] = (),
    ) -> str:
        """Put the model with its page into a repository, OWNER/REPO, which is made where there is none.

        tag: of the new commit. examples: as in `save_pretrained`. Returns the commit. Raises HubError.
        """
        address = HubAddress(parse_hub_address(f"{SCHEME}{repository.removeprefix(SCHEME)}").repository)
        with TemporaryDirectory(prefix="vqcodec-") as name, told(address):
            self.save_pretrained(name, examples=examples)
            api = hub().HfApi()
            api.create_repo(address.repository, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=address.repository,
                folder_path=name,
                commit_message=message or f"vqcodec model {self.model.card.name}",
            )
            if tag:
                api.create_tag(address.repository, tag=tag, revision=commit.oid)
        return str(commit.oid)


def _psnr(left: Image.Image, right: Image.Image) -> float:
    """Decibels."""
    difference = np.asarray(left, np.float64) - np.asarray(right, np.float64)
    return float(10 * np.log10(255**2 / max(np.square(difference).mean(), 1e-12)))


def _sheet(pictures: Sequence[Image.Image]) -> bytes:
    """A JPEG file with each original at the left and what became of it at the right."""
    for picture in pictures:
        picture.thumbnail((_SHEET_SIDE, _SHEET_SIDE))
    rows = list(zip(pictures[::2], pictures[1::2], strict=True))
    width, height = 2 * max(left.width for left, _ in rows), sum(left.height for left, _ in rows)
    sheet, top = Image.new("RGB", (width, height), "white"), 0
    for left, right in rows:
        sheet.paste(left, (0, top))
        sheet.paste(right, (width // 2, top))
        top += left.height
    file = BytesIO()
    sheet.save(file, "JPEG", quality=92)
    return file.getvalue()
