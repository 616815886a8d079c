"""Run the deployed functions on one machine: the API Gateway look-alike and the services they need.

Each package is a layer, and imports only those below it: commands, gateway or batching, runtime, services, http. Beside
the packages are the modules that several layers use, and `sample_events`, which writes `local/events` with all of them.
"""
