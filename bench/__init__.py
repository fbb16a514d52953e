"""Measures Trunkline against what one would take instead; docs/performance.md tells how."""
