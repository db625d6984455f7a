"""What lies on disk: the cards of models and priors, files of weights, and models found by name, path and id."""
