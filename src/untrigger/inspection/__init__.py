"""What can be seen in a model's files without running the model; evidence, never proof."""
