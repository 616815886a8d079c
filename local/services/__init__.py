"""The services that functions use, each run by this machine: PostgreSQL, and moto in place of SQS and S3."""
