"""Takes specs and commits, makes jobs and datums of them, folds outcomes into output commits."""
