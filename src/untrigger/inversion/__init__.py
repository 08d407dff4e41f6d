"""What a model was taught to say, found without the key: target inversion, and how to unlearn what it finds."""
