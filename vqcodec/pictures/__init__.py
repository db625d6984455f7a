"""Picture files and pixels: range, colour, orientation, alpha, tiles, resampling, label maps."""
