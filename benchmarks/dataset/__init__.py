"""What datasets of tokens promise, shown: counts, interruptions, sameness, storage that fails, disks, Ray, scale.

Each module is run by itself, `python -m vqcodec.benchmarks.dataset.counts PHOTOS`, and prints JSON lines; the figures
are in docs/datasets.md. PHOTOS: a folder or archive of photos.
"""
