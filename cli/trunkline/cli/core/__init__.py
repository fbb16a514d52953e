"""What the command line decides before it says it: from facts to sentences, without asking anybody."""
