"""MT-Bench: 80 questions of two turns, answered by the model and rated by a judge (arXiv 2306.05685)."""
