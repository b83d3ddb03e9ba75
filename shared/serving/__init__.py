"""Answering HTTP, within bounds for whatever a peer decides."""
