"""How the HTTP API answers, whichever route it is: problems, pages, and its description as OpenAPI."""
