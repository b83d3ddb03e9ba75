"""PostgreSQL and RabbitMQ, started privately: own data, own ports, own passwords, on 127.0.0.1 only.

For the local stack and the tests where there is no Docker engine. Nothing in here may use, stop or configure a server
that it did not start itself, nor listen on a port that servers have by custom. Linux is what it is written for.
"""
