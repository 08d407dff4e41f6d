"""Results as tables, cards and files."""
