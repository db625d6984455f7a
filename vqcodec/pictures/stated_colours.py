"""Colours that a file states by numbers and not by an ICC profile, converted to sRGB.

PNG has them as gAMA and cHRM or as cICP, AVIF and HEIC as codes. Pillow hands on the first and does not know the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["StatedColours", "from_codes", "from_png"]

Floats: TypeAlias = NDArray[np.float64]
Chromaticities: TypeAlias = "tuple[float, float, float, float, float, float, float, float]"

_D65 = (0.3127, 0.3290)
_SRGB: Final = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
#: codes of primaries (ITU-T H.273) -> x and y of white, red, green and blue; 2 is "not said"
_PRIMARIES: Final = {
    1: _SRGB,
    2: _SRGB,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
#: codes of transfers that are shown as sRGB is; 2 is "not said"
_LIKE_SRGB: Final = (1, 2, 6, 13, 14, 15)
_GAMMAS: Final = {4: 2.2, 5: 2.8, 8: 1.0}
_PQ, _HLG = 16, 18
_WHITE_NITS: Final = 203.0  # of HDR pictures, where diffuse white lies (ITU-R BT.2408)
_HLG_PEAK_NITS: Final = 1000.0
_SMALLEST_GAMMA, _LARGEST_GAMMA = 0.1, 10.0
_BAND_ROWS: Final = 256
_STEPS: Final = 1 << 14


@dataclass(frozen=True)
class StatedColours:
    """chromaticities: x and y of white, red, green and blue. decoding: (256,) linear light of each sample, white 1.

    hlg: light is the scene's, and each pixel is still to be taken to the power that displays have.
    warning: what is lost; empty for nothing.
    """

    chromaticities: Chromaticities
    decoding: Floats
    hlg: bool = False
    warning: str = ""

    def to_srgb(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 in these colours to sRGB; what sRGB does not have is cut."""
        matrix = np.linalg.inv(_to_xyz(_SRGB)) @ _adapted_to_d65(self.chromaticities) @ _to_xyz(self.chromaticities)
        encoding = _srgb_samples(np.arange(_STEPS) / (_STEPS - 1))
        if np.abs(matrix - np.eye(3)).max() < 1e-3 and not self.hlg:
            by_sample: NDArray[np.uint8] = encoding[_steps(self.decoding)][rgb]
            return by_sample
        converted = np.empty_like(rgb)
        for top in range(0, rgb.shape[0], _BAND_ROWS):
            rows = slice(top, top + _BAND_ROWS)
            light = self.decoding[rgb[rows]]
            if self.hlg:
                luminance = light @ _to_xyz(self.chromaticities)[1]
                light = light * luminance[..., None] ** 0.2 * (_HLG_PEAK_NITS / _WHITE_NITS)
            converted[rows] = encoding[_steps(light @ matrix.T)]
        return converted


def from_codes(primaries: int, transfer: int) -> StatedColours | None:
    """Of codes of ITU-T H.273; None for sRGB. Codes that are not known count as sRGB's, with a warning."""
    unknown = primaries not in _PRIMARIES or transfer not in (*_LIKE_SRGB, *_GAMMAS, _PQ, _HLG)
    chromaticities = _PRIMARIES.get(primaries, _SRGB)
    samples = np.arange(256) / 255
    if transfer == _PQ:
        decoding, warning = _pq_nits(samples) / _WHITE_NITS, "HDR (PQ) was converted to sRGB: highlights are cut"
    elif transfer == _HLG:
        decoding, warning = _hlg_scene_light(samples), "HDR (HLG) was converted to sRGB: highlights are cut"
    else:
        decoding = samples ** _GAMMAS[transfer] if transfer in _GAMMAS else _srgb_light(samples)
        warning = f"colours of unknown codes ({primaries}, {transfer}) were taken as sRGB" if unknown else ""
        if not warning and chromaticities == _SRGB and transfer not in _GAMMAS:
            return None
    return StatedColours(chromaticities, decoding, transfer == _HLG, warning)


def from_png(info: dict[Any, Any]) -> StatedColours | None:
    """Of what Pillow has of the chunks sRGB, gAMA and cHRM; None for sRGB and for nothing."""
    if "srgb" in info:
        return None
    gamma, chromaticities = info.get("gamma"), info.get("chromaticity") or _SRGB
    if gamma is not None and not _SMALLEST_GAMMA <= gamma <= _LARGEST_GAMMA:
        return StatedColours(_SRGB, _srgb_light(np.arange(256) / 255), warning=f"a gamma of {gamma:g} was ignored")
    if len(chromaticities) != 8 or not _plausible(chromaticities):
        light = _srgb_light(np.arange(256) / 255)
        return StatedColours(_SRGB, light, warning="primaries that cannot be were ignored")
    usual = gamma is None or abs(gamma - 1 / 2.2) < 0.005
    if usual and max(abs(a - b) for a, b in zip(chromaticities, _SRGB, strict=True)) < 0.005:
        return None
    samples = np.arange(256) / 255
    return StatedColours(chromaticities, _srgb_light(samples) if usual else samples ** (1 / float(gamma or 1)))


def _plausible(chromaticities: Chromaticities) -> bool:
    """Whether they span a space of colours."""
    points = np.array(chromaticities, dtype=np.float64).reshape(4, 2)
    if not np.isfinite(points).all() or (points[:, 1] < 0.01).any() or (np.abs(points) > 1).any():
        return False
    red, green, blue = points[1:]
    area = (green - red)[0] * (blue - red)[1] - (green - red)[1] * (blue - red)[0]
    return bool(abs(area) > 0.005)


def _xyz(x: float, y: float) -> Floats:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _to_xyz(chromaticities: Chromaticities) -> Floats:
    """(3, 3): linear red, green and blue to XYZ, white with Y = 1."""
    white, *primaries = (_xyz(*chromaticities[at : at + 2]) for at in (0, 2, 4, 6))
    columns = np.stack(primaries, axis=1)
    matrix: Floats = columns * np.linalg.solve(columns, white)
    return matrix


def _adapted_to_d65(chromaticities: Chromaticities) -> Floats:
    """(3, 3): XYZ under this white to XYZ under D65, by Bradford."""
    cones = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    here, there = cones @ _xyz(*chromaticities[:2]), cones @ _xyz(*_D65)
    adapted: Floats = np.linalg.inv(cones) @ np.diag(there / here) @ cones
    return adapted


def _steps(light: Floats) -> NDArray[np.int64]:
    return np.round(np.clip(light, 0, 1) * (_STEPS - 1)).astype(np.int64)


def _srgb_light(samples: Floats) -> Floats:
    return np.where(samples <= 0.04045, samples / 12.92, ((samples + 0.055) / 1.055) ** 2.4)


def _srgb_samples(light: Floats) -> NDArray[np.uint8]:
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8)


def _pq_nits(samples: Floats) -> Floats:
    """SMPTE ST 2084."""
    power = samples ** (1 / 78.84375)
    nits: Floats = 10_000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    return nits


def _hlg_scene_light(samples: Floats) -> Floats:
    """ITU-R BT.2100, 0 to 1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(samples <= 0.5, samples**2 / 3, (np.exp((samples - c) / a) + b) / 12)
