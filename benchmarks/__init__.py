"""Measurements, side by side in one run: a figure is a ratio, since machines differ and are shared."""
