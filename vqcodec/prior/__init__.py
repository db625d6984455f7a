"""Stage 2: orders and neighbourhoods of tokens, the transformer, and the prior in whole numbers that codes streams."""
