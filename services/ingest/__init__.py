"""Stores what was pulled, each capture once, and only then tells the client that it may forget."""
