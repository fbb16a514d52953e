"""Pictures for the docs, drawn from what a real run has measured."""
