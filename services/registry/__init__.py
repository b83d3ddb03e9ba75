"""Owns the client records, the schedule and the sync runs, and is the only front door: its HTTP API."""
