"""Run the command line: ``python -m kurolproxy``."""

from kurolproxy.cli.main import main

if __name__ == "__main__":
    main(prog_name="kurolproxy")
