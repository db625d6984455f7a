"""Priors: compared, in bits per token, across processes, and as enlargers of pictures."""
