"""The local stack: what `make up`, `make demo` and the tests start. Nothing here is deployed."""
