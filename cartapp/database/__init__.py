"""The SQL engine of the application, its schema and migrations."""
