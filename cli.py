"""The `cart` command, for `python cli.py`."""

from cartapp.commands import main

if __name__ == "__main__":  # worker processes import this file too
    main()
