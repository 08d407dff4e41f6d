"""`python -m untrigger` is the command."""

from untrigger.cli.main import run

if __name__ == "__main__":
    run()
