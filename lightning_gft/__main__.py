"""Runs the command line by ``python -m lightning_gft``."""

from lightning_gft.cli import main

if __name__ == "__main__":
    main()
