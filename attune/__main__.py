"""``python -m attune`` is the ``attune`` command."""

from .cli.main import main

if __name__ == "__main__":
    main()
