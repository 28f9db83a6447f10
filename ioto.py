import sys
from ioto.cli import main
sys.exit(main())
