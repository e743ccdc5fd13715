"""`/proof`: concurrent requests on sessions of this library and on plain ones, for developers."""
