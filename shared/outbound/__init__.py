"""The way to clients, whose addresses and answers are a stranger's word."""
