"""`python -m llm_core`: recipes without a browser."""

import sys

from llm_core.cli import main

sys.exit(main())
