"""The command `fastinit`, and `python -m fastinit`."""

import sys


def main() -> int:
    """Run the command line; without its libraries, say what to install."""
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ImportError as error:
        print(
            f"fastinit: the command line needs {error.name}: pip install 'fastinit-weights[cli]', or click and rich",
            file=sys.stderr,
        )
        return 2
    try:
        from .cli import run
    except Exception as error:  # what NumPy says of a limit on memory, say
        print(f"fastinit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
