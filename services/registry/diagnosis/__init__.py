"""What the registry can tell of the servers that it needs: one look, for `pullsync doctor` and other operators."""
