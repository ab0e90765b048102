"""``python -m whyclass`` is the command."""

from whyclass.cli.main import main

if __name__ == "__main__":
    main()
