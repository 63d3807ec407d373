"""`python -m llm_core`: recipes without a browser."""

import sys

from llm_core.command_line import main

sys.exit(main())
