"""Thousands of simulated clients in one process: `Simulator` starts it and talks to it."""
