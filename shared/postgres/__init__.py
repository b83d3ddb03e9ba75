"""Connections, migrations and named queries."""
