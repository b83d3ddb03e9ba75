"""What goes on, for many who look at once: read for all of them together, and told to each as it changes."""
