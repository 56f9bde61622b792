"""Measurements, and the pages of docs/results that they fill."""
