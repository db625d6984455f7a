"""Rate and distortion of our codec and others: codecs, metrics, points, what they mean."""
