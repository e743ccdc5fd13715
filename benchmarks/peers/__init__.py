"""One minimal application a file, each as its own documentation recommends."""
