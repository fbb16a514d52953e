"""Takes datums, stages their files, runs the user's command on each, and reports the outcome."""
