"""Entry point: `python run.py` serves; `python run.py --help` lists the commands."""

from server.cli import main

if __name__ == "__main__":
    main()
