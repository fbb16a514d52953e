"""Grafana's dashboards as code, what they make (`dashboards/`), and how a Grafana is given both."""
