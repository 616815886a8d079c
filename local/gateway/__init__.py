"""API Gateway's look-alike: an HTTP server, routes, the JWT authorizer, and the Lambda proxy integration."""
