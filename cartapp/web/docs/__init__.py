"""`/docs` and `/openapi.json`."""
