"""The HTTP API: each module decodes, calls, encodes; no rule and no SQL in them."""
