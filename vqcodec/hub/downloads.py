"""Files of repositories, from the cache where they are there. Imports huggingface_hub only when it is needed.

A file of a commit that is in the cache costs no request. HF_HUB_OFFLINE, HF_ENDPOINT, HF_HOME and HF_TOKEN mean what
they mean to huggingface_hub.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from vqcodec.hub.addresses import HubAddress
from vqcodec.hub.errors import HubError


@dataclass(frozen=True)
class RepositoryFiles:
    """commit: 40 hexadecimal digits. files: paths in the repository. licence: as its page states it, or ""."""

    commit: str
    files: Sequence[str]
    licence: str


def hub() -> ModuleType:
    """huggingface_hub. Raises HubError where it is not installed."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise HubError("huggingface_hub is not installed; pip install 'vqcodec[hub]'") from error
    return huggingface_hub


def repository_files(address: HubAddress) -> RepositoryFiles:
    """What a repository holds at a revision; asks the hub. Raises HubError."""
    with told(address):
        info = hub().HfApi().model_info(address.repository, revision=address.revision or None)
    licence = (info.card_data or {}).get("license") or ""
    return RepositoryFiles(str(info.sha), [each.rfilename for each in info.siblings or ()], str(licence))


def download_file(address: HubAddress, name: str) -> Path:
    """A file of a repository, `name` counted from its root: from the cache, or downloaded into it. Raises HubError."""
    with told(address, name):
        return Path(hub().hf_hub_download(address.repository, name, revision=address.revision or None))


def download_files(address: HubAddress, names: Sequence[str]) -> Path:
    """The folder of an address with those of the files `names` in it that there are, in the cache. Raises HubError.

    A commit all of whose files are in the cache costs no request.
    """
    inside = f"{address.folder}/" if address.folder else ""
    with told(address):
        root = hub().snapshot_download(
            address.repository,
            revision=address.revision or None,
            allow_patterns=[inside + name for name in names],
        )
    return Path(root) / address.folder


@contextmanager
def told(address: HubAddress, name: str = "") -> Iterator[None]:
    """What goes wrong with the hub becomes a HubError of one line."""
    installed = hub()
    from huggingface_hub import errors

    what = f"{name} in {address}" if name else str(address)
    try:
        yield
    except errors.RepositoryNotFoundError as error:
        raise HubError(f"{address}: no such repository, or a private one (HF_TOKEN)") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{address}: the repository has no such revision") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise HubError(f"{what}: not in the cache, and the hub cannot be reached") from error
    except errors.EntryNotFoundError as error:
        raise HubError(f"{what}: no such file") from error
    except (errors.HfHubHTTPError, errors.HFValidationError) as error:
        raise HubError(f"{what}: {' '.join(str(error).split())[:200]}") from error
    except _network_errors(installed) as error:
        raise HubError(f"{what}: the hub cannot be reached ({type(error).__name__}: {error})") from error


def _network_errors(installed: ModuleType) -> tuple[type[Exception], ...]:
    """Of the HTTP client that this version of huggingface_hub uses, and the system's."""
    import importlib

    names = ("httpx", "HTTPError"), ("httpx2", "HTTPError"), ("requests.exceptions", "RequestException")
    found: list[type[Exception]] = [ConnectionError, TimeoutError]
    for module, name in names:
        try:
            found.append(getattr(importlib.import_module(module), name))
        except ImportError:
            continue
    return tuple(found)
