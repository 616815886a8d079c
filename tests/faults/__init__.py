"""`make test-faults`: parts fail while clients predict, and then every answer is compared with the ledger."""
