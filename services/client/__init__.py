"""The reference client: runs beside an app, keeps what its user did, and gives it to whoever pulls."""
