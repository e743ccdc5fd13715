"""The shop over HTTP: routes, pages, errors and the layers around them."""
