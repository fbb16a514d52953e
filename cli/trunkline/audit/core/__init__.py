"""What is right about a job's outcomes and output, and what is not."""
