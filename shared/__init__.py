"""The contracts between the services, and the mechanisms that all of them use. No business rule lives here."""
