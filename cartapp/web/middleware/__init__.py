"""ASGI middleware, three layers around the session; `create_app` defines the order."""
