"""The commands: each asks the registry, and says what it answered."""
