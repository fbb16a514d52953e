"""The verbs: what can be asked for, and nothing of how it is done."""
