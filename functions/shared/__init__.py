"""The layers below the handlers: api, inference and ledger."""
