"""Publishing and consuming, so that nothing is lost whatever happens to connection, channels and queues."""
