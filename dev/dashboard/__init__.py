"""Grafana's dashboard, generated so that it stays true: a panel for each question, and each metric by its name once."""
