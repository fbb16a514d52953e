"""NATS and JetStream: connections, acknowledged publishes, standing pulls, tables and tails."""
