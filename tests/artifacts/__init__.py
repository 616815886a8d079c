"""What `sam build` made, run as Lambda runs it. Needs `make build` first; `make test` leaves it out."""
