"""What each workload is compared with in the same run: each a program that prints one line of JSON."""
