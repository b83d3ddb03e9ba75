"""What RabbitMQ could not have delivered: looked at and replayed where it lies."""
