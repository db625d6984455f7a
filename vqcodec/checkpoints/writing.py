"""A translated checkpoint -> a model folder: stage1.safetensors in float32, and the card."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from vqcodec.cards.model_card import CARD_FILE, WEIGHTS_FILE, ModelCard, load_model_folder
from vqcodec.cards.model_files import remove_other_files
from vqcodec.checkpoints.official_config import OfficialConfig
from vqcodec.checkpoints.sources import LocatedCheckpoint
from vqcodec.checkpoints.translation import Translated
from vqcodec.models.magvit_config import MagvitConfig
from vqcodec.models.maskgit_config import MaskgitConfig
from vqcodec.models.taming_config import TamingConfig
from vqcodec.whole_files import replacing_several

NOT_STATED: Final = "not stated"
_BLOCK: Final = 1 << 22


@contextmanager
def writing_model(folder: Path, name: str, translated: Translated, origin: dict[str, Any]) -> Iterator[Path]:
    """A draft of the model folder, to be checked in the block; it is moved to `folder` when the block ends well, and
    takes the place of a model there with all its files."""
    from safetensors.torch import save_file

    names, replaces = [WEIGHTS_FILE, CARD_FILE], (folder / CARD_FILE).exists()
    with replacing_several(folder, names) as draft:
        weights = {key: tensor.float().contiguous().clone() for key, tensor in translated.state.items()}
        save_file(weights, draft / WEIGHTS_FILE)
        del weights
        ModelCard(
            name=name,
            autoencoder=translated.config,
            static_frequencies=(),
            weights_sha256=file_sha256(draft / WEIGHTS_FILE),
            licence=origin["licence_of_weights"],
            training={"data": f"see {origin['source']}", "steps": None},
            precision="float32",
            origin=origin,
        ).save(draft)
        yield draft
    if replaces:
        remove_other_files(folder, [Path(name) for name in names])
    load_model_folder.cache_clear()


def origin_of(
    translated: Translated, located: LocatedCheckpoint, official: OfficialConfig, licence: str
) -> dict[str, Any]:
    """What the card says of where a model comes from and what was done to it."""
    networks = translated.config.networks
    is_unit = isinstance(networks, TamingConfig | MaskgitConfig | MagvitConfig) and networks.pixel_range == "unit"
    return {
        "family": translated.family.name,
        "official_class": official.class_name or translated.family.title,
        "official_config": dict(official.values or {}),
        "repository_of_code": translated.family.repository,
        "licence_of_code": translated.family.licence,
        "licence_of_weights": licence or located.licence or NOT_STATED,
        "source": located.origin,
        "commit": located.commit,
        "file": located.file.name,
        "file_sha256": file_sha256(located.file),
        "file_bytes": located.file.stat().st_size,
        "averaged_weights": translated.averaged,
        "pixel_range": "[0, 1]" if is_unit else "[-1, 1]",
        "precision": "float32",
        "folded": list(translated.folded),
        "left_out": list(translated.left_out),
    } | ({"used_codes": list(translated.used_codes)} if translated.used_codes else {})


def file_sha256(path: Path) -> str:
    """Hexadecimal; the file is read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
