"""`python -m cbalign`."""

from cbalign.cli import main

if __name__ == "__main__":
    main()
