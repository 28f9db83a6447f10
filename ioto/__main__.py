"""`python3 -m ioto`: the command line, as ioto.py runs it."""
import sys

from .cli import main

sys.exit(main())
