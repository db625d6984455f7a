"""An error as the user sees it: one line that names the file; the traceback only for --debug."""

from __future__ import annotations

import re
import sys
import traceback

#: module -> its exceptions about the user's data. Only modules that are loaded can have raised: none is imported here.
_ABOUT_DATA = {
    "vqcodec.bitstream.errors": ("StreamError", "RangeCoderError"),
    "vqcodec.pictures.errors": ("ImageError",),
    "vqcodec.cards.errors": ("ModelError",),
    "vqcodec.hub.errors": ("HubError",),
    "vqcodec.checkpoints.errors": ("ForeignCheckpointError",),
    "vqcodec.onnx_export.export": ("OnnxError",),
    "vqcodec.models.tiled": ("WholePictureError",),
    "vqcodec.compute.errors": ("DeviceError",),
    "vqcodec.native.library": ("CoreError",),
    "vqcodec.rates.rate": ("RateError",),
    "vqcodec.generation.refinement": ("RefinementError",),
    "vqcodec.kernels.dispatch": ("KernelError",),
    "vqcodec.perceptual.networks": ("PerceptualWeightsError",),
    "vqcodec.benchmarks.rate_distortion.anchors": ("AnchorError",),
    "vqcodec.benchmarks.pages.comparison": ("ComparisonError",),
    "vqcodec.benchmarks.rate_distortion.published": ("PublishedError",),
    "vqcodec.benchmarks.speed.processes": ("ProcessError",),
    "vqcodec.benchmarks.rate_distortion.measuring": ("WorkerError",),
    "vqcodec.benchmarks.pages.report": ("ReportError",),
    "vqcodec.dataset.errors": ("DatasetError",),
    "vqcodec.training.data.types": ("DataError",),
    "vqcodec.training.common.checkpoint": ("CheckpointError",),
    "vqcodec.training.common.run_log": ("RunLogError",),
    "vqcodec.training.common.loop": ("TrainingError",),
    "vqcodec.cli.common.files": ("FileError",),
    "vqcodec.cli.common.loading": ("LoadingError",),
}
# control characters, which would break a line or steer a terminal, and the stand-ins for bytes that are not UTF-8
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` on one line, with escapes for what a terminal cannot or should not show."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def describe(error: Exception, *names: str) -> str:
    """One line for an error; it starts with the first of `names` unless its message starts with one of them."""
    message = printable(_message(error))
    known = [printable(name) for name in names]
    return message if not known or any(message.startswith(f"{name}:") for name in known) else f"{known[0]}: {message}"


def report(error: Exception, *names: str, debug: bool) -> str:
    """What goes to stderr for an error: the line, after the traceback for --debug."""
    lines = traceback.format_exception(error) if debug else []
    return "".join([*lines, f"error: {describe(error, *names)}"])


def is_about_memory(error: Exception) -> bool:
    """Whether Python, or torch on any device (a RuntimeError on the CPU), found no memory."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and re.search("out of memory|allocate memory", str(error)) is not None


def _message(error: Exception) -> str:
    if isinstance(error, OSError):
        name = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return f"{name}{error.strerror or _flat(error)}"
    if _is_about_data(error):
        return str(error)
    if is_about_memory(error):
        return "not enough memory for a picture of this size: close other programs, or make the picture smaller"
    return f"unexpected {type(error).__name__} ({_flat(error)}): please report this with what --debug shows"


def _is_about_data(error: Exception) -> bool:
    loaded = ((sys.modules[module], names) for module, names in _ABOUT_DATA.items() if module in sys.modules)
    return isinstance(error, tuple(getattr(module, name) for module, names in loaded for name in names))


def _flat(error: Exception) -> str:
    return " ".join(str(error).split())
