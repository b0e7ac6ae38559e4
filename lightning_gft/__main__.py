"""``python -m lightning_gft`` is ``lightning-gft``."""

from lightning_gft.cli import main

if __name__ == "__main__":
    main()
