"""The queue of predictions that a worker is to make. Knows neither HTTP nor the ledger; a message carries an id."""
