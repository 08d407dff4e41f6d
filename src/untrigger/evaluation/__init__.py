"""Rates, judges and measurements."""
