"""Stage 1: networks and quantisers, and the autoencoders that they make up."""
