"""Pages to look at results and pictures in a browser."""
