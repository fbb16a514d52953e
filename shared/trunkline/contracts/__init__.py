"""What all services agree on: names, subjects, messages, records, states and errors."""
