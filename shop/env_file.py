"""The `.env` file: settings for those who cannot set an environment."""

import os
from pathlib import Path

from shop.config import SETTINGS, ConfigError

# Names in .env that belong to the tools that start the shop, not to the shop.
FOREIGN_PREFIXES = ("FLASK_", "PYTHON", "GUNICORN_", "WEB_CONCURRENCY", "SANDBOX_")


def load_env_file(path: Path) -> None:
    """Put the settings of a `.env` file into the environment, which wins where both name one.

    Raises ConfigError for a name that is no setting: nobody else reads this file.
    """
    from dotenv import dotenv_values

    known = {setting.name for setting in SETTINGS}
    _refuse_broken_lines(path)
    for name, value in dotenv_values(path).items():
        if name not in known and not name.startswith(FOREIGN_PREFIXES):
            raise ConfigError(f"{name}: no such setting (in {path.name}). {_likely(name)}")
        if value is not None:
            os.environ.setdefault(name, value)


def _refuse_broken_lines(path: Path) -> None:
    """Raise ConfigError for a line that dotenv would leave out with a word in the log only."""
    from dotenv.parser import parse_stream

    if not path.exists():
        return
    try:
        with path.open(encoding="utf-8") as file:
            broken = [line.original.line for line in parse_stream(file) if line.error]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path.name}: cannot be read ({error}). Right: a UTF-8 file that the shop may read"
        ) from error
    if broken:
        raise ConfigError(
            f"{path.name}: line {broken[0]} is no setting. Right: SHOP_NAME=Corner Shop"
        )


def _likely(name: str) -> str:
    """Return the example of the setting that was probably meant."""
    from difflib import get_close_matches

    examples = {setting.name: setting.example for setting in SETTINGS}
    for meant in get_close_matches(name, examples, 1):
        return f"Right: {meant}={examples[meant]}"
    return "Right: a line without it, or a name that .env.example lists"
