"""Where a capture is: the facts, and what they say."""
