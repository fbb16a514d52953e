"""Trunkline on one machine: a nats-server child, the services, and a pool of worker processes."""
