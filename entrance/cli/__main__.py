"""``python -m entrance.cli``: what ``bin/entrance`` runs."""

from entrance.cli.main import main

if __name__ == "__main__":
    main()
