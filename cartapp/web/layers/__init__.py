"""Thin ASGI layers around the router, each for one duty; `create_app` puts them in order."""
