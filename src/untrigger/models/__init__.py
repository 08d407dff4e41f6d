"""Model layouts, weight files, loading and generation."""
