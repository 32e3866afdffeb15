"""`python -m mrpack`."""

from mrpack.cli.main import main

if __name__ == "__main__":
    main()
