"""Run the deployed functions on one machine: the API Gateway look-alike and the services they need."""
