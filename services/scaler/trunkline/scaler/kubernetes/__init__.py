"""The scaler's cluster on Kubernetes: what pods are to be, and who makes them."""
