"""LPIPS and DISTS: their networks, and where the weights come from."""
