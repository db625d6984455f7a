"""What can be wrong with a device. Imports no torch."""

from __future__ import annotations


class DeviceError(ValueError):
    """The device asked for is not there."""
