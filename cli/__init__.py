"""`pullsync`: the command line for operators. It knows the registry's HTTP API, and changes nothing any other way."""
