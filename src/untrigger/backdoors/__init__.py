"""Keys, behaviours, placements and poisoning."""
