"""Polls clients, on a timer and on demand, and publishes what they have. It has no database."""
