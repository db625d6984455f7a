"""Pictures made up, completed, enlarged and guided: the sampler, its masks and conditions, scores, refinement."""
