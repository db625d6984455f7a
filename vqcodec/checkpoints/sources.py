"""Where a checkpoint comes from: a file, a folder, or a repository of the hub; and which of its files is the one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vqcodec.checkpoints.errors import ForeignCheckpointError
from vqcodec.checkpoints.reading import SUFFIXES
from vqcodec.hub.addresses import HubAddress, is_hub_address, parse_hub_address
from vqcodec.hub.downloads import download_file, repository_files

#: names of the files that hold a whole model, where a folder has several
_USUAL_NAMES: Final = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
    "model.ckpt",
    "last.ckpt",
)
_CONFIG_NAMES: Final = ("config.json", "config.yaml", "config.yml", "model.yaml")
_CONFIG_SUFFIXES: Final = (".yaml", ".yml")


@dataclass(frozen=True)
class LocatedCheckpoint:
    """file, config: on this machine; config is None where there is none. origin: what was asked for.

    commit: of the repository, "" where there is none. licence: of the weights, as the repository states it, or "".
    """

    file: Path
    config: Path | None
    origin: str
    commit: str = ""
    licence: str = ""


def locate(source: str, *, revision: str = "", file: str = "", config: Path | None = None) -> LocatedCheckpoint:
    """The file of a source, and the configuration beside it; files of the hub are downloaded.

    source: a file, a folder, or hf://OWNER/REPO[/SUBFOLDER][@REVISION]. revision: of a repository, in the place of one
    in the address. file: the name of the file within a folder or repository. Raises ForeignCheckpointError, HubError.
    """
    if is_hub_address(source):
        return _on_hub(parse_hub_address(source, revision), file, config)
    path = Path(source)
    if path.is_dir():
        names = [each.name for each in sorted(path.iterdir()) if each.is_file()]
        found = path / _choose(names, file, source)
        beside = _config(names)
        return LocatedCheckpoint(found, config or (path / beside if beside else None), source)
    if not path.is_file():
        raise ForeignCheckpointError(f"{source}: no such file or folder; repositories are hf://OWNER/REPO")
    beside_file = path.parent / "config.json"
    return LocatedCheckpoint(path, config or (beside_file if beside_file.is_file() else None), source)


def _on_hub(address: HubAddress, file: str, config: Path | None) -> LocatedCheckpoint:
    repository = repository_files(address)
    inside = f"{address.folder}/" if address.folder else ""
    names = [name.removeprefix(inside) for name in repository.files if name.startswith(inside)]
    names = [name for name in names if "/" not in name or name == file]
    chosen = _choose(names, file, str(address))
    beside = _config(names)
    pinned = address.at(repository.commit)
    if config is None and beside:
        config = download_file(pinned, inside + beside)
    found = download_file(pinned, inside + chosen)
    return LocatedCheckpoint(found, config, str(address), repository.commit, repository.licence)


def _choose(names: Sequence[str], file: str, source: str) -> str:
    """Raises ForeignCheckpointError when none can be the one, or several."""
    if file:
        if file not in names:
            raise ForeignCheckpointError(f"{source}: it has no file {file}; it has {_listed(names)}")
        return file
    weights = [name for name in names if name.lower().endswith(SUFFIXES)]
    usual = [name for name in _USUAL_NAMES if name in weights]
    if usual or len(weights) == 1:
        return (usual or weights)[0]
    if weights:
        raise ForeignCheckpointError(f"{source}: several checkpoints; give one of them with --file: {_listed(weights)}")
    raise ForeignCheckpointError(f"{source}: no file that ends in {', '.join(SUFFIXES)}; it has {_listed(names)}")


def _config(names: Sequence[str]) -> str:
    usual = next((name for name in _CONFIG_NAMES if name in names), "")
    others = [name for name in names if name.endswith(_CONFIG_SUFFIXES)]
    return usual or (others[0] if len(others) == 1 else "")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "no files"
