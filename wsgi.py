"""What a WSGI server loads: `app`, also named `application`. Reads the `.env` beside it."""

import sys
from pathlib import Path

from shop import create_app
from shop.config import ConfigError, load_env_file

try:
    load_env_file(Path(__file__).resolve().parent / ".env")
    app = application = create_app()
except ConfigError as error:
    sys.stderr.write(f"shop: {error}\n")
    # gunicorn's code for a worker that cannot boot: it stops instead of trying again for ever.
    raise SystemExit(3) from None
