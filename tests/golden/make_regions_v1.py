"""Writes the golden streams with regions of format version 1, beside those of make_v1.py. NEVER rerun this."""

from __future__ import annotations

from make_v1 import make, skewed

from vqcodec.bitstream import Boxes


def main() -> None:
    """Write all streams."""
    make("regions_uniform", (201, 99), [(32, 512), (16, 1024)], region_side=64, seed=12)
    tables = [skewed(k, k) for k in (100, 64, 17)]
    make("regions_static", (130, 70), [(32, 100), (16, 64), (8, 17)], tables=tables, region_side=32, seed=13)
    make("regions_wide", (1000, 1), [(16, 40)], boxes=Boxes(icc=b"profile " * 40), region_side=256, seed=14)
    make("regions_one_code", (100, 60), [(16, 1), (4, 7)], region_side=48, seed=15)


if __name__ == "__main__":
    main()
