"""Defences: functions from a subject to a treated subject."""
