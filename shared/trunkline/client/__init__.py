"""A thin client: requests to the coordinator, and files to and from the store."""
