"""All that learns: shape model, augmentation, networks, losses, training, and the chain of them."""
