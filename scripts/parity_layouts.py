"""Checkpoints of the families in the layouts that their projects publish, for `parity.py`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

#: family, by the beginning of its name: name of the file of weights, what is around the tensors, file of the options
_LAYOUTS = (
    ("diffusers_", "diffusion_pytorch_model.safetensors", "", "config.json"),
    ("maskgit_", "pytorch_model.bin", "", "config.json"),
    ("openmuse_", "pytorch_model.bin", "", "config.json"),
    ("llamagen_vq", "vq_ds16_c2i.pt", "model", ""),
    ("llamagen_gpt", "c2i_B_256.pt", "model", "config.json"),
    ("rqvae_", "model.pt", "state_dict", "config.yaml"),
    ("var_", "vae_ch160v4096z32.pth", "", "config.json"),
    ("vqgan_lc", "checkpoint.pth", "model", ""),
    ("ldm_", "model.ckpt", "lightning", "config.yaml"),
    ("", "last.ckpt", "lightning", "model.yaml"),
)


@dataclass(frozen=True)
class Published:
    """path: of the weights. config: of the options, None where the project publishes none. stated: config.json of the
    material."""

    path: Path
    config: Path | None
    stated: dict[str, Any]

    @property
    def files(self) -> str:
        """For people."""
        return self.path.name + (f", {self.config.name}" if self.config else "")


def write_published(source: Path, recipe: dict[str, Any], folder: Path) -> Published:
    """The checkpoint of the family in `source` into `folder`."""
    stated = json.loads((source / "config.json").read_text())
    state: dict[str, Tensor] = {name: torch.from_numpy(values) for name, values in recipe["state"](stated).items()}
    if (source / "kept.safetensors").exists():
        state |= load_file(source / "kept.safetensors")
    _, name, around, options = next(layout for layout in _LAYOUTS if source.name.startswith(layout[0]))
    path = folder / name
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(_around(state, around), path)
    config = folder / options if options else None
    if config:
        values = stated["config"]
        if config.suffix == ".json":
            values = {"_class_name": stated["about"]["class"].rsplit(".", 1)[-1], **values}
            config.write_text(json.dumps(values))
        else:  # configurations of trainers have the model's beside others
            whole = values if "arch" in values else {"model": values, "data": {"params": {"batch_size": 12}}}
            config.write_text(yaml.safe_dump(whole))
    return Published(path, config, stated)


def _around(state: dict[str, Tensor], around: str) -> dict[str, Any]:
    if around == "lightning":
        about = {"epoch": 30, "global_step": 1000, "pytorch-lightning_version": "1.0.8", "lr_schedulers": []}
        return {**about, "state_dict": state, "callbacks": {}, "optimizer_states": [{"state": {}}]}
    return {around: state, "epoch": 30} if around else dict(state)
