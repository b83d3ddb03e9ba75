"""One package for each service; a service imports from `shared` and never from another service."""
