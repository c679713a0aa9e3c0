"""``python -m trustdd``: the command line."""

from trustdd.cli import main

if __name__ == "__main__":
    main()
