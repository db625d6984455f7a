"""Training of the autoencoder: recipes, losses, the discriminator, validation."""
