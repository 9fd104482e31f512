"""Writes what the documents say of the settings: the table in README.md, and .env.example."""

from pathlib import Path

from shop.config import SETTINGS

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- settings: made by `make docs` -->\n", "<!-- end of settings -->"
HEAD = """\
# Copy to .env and fill in what you need; the environment wins over this file.
# Every setting has a usable default but those for taking real money.
"""


def table() -> str:
    """Return the settings as a Markdown table."""
    rows = [f"| `{s.name}` | {s.help} | `{s.example}` |" for s in SETTINGS]
    return "\n".join(["| Setting | What it is | Example |", "|---|---|---|", *rows]) + "\n"


def env_example() -> str:
    """Return .env.example: every setting, commented out."""
    return HEAD + "".join(f"\n# {s.help}.\n#{s.name}={s.example}\n" for s in SETTINGS)


def readme(text: str) -> str:
    """Return the README with its table of settings renewed."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(readme(path.read_text()))
    (ROOT / ".env.example").write_text(env_example())
