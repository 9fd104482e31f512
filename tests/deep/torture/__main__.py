"""`python -m tests.deep.torture`: torture for hours; ends with status 1 at a difference."""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests import databases
from tests.deep.torture.run import torture

KILLS_PER_ROUND = 20


def main() -> int:
    """Run rounds until the time or the kills are used up; return the exit status."""
    asked = _asked()
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    much = f"{asked.kills} kills" if asked.kills else f"{asked.minutes:g} minutes"
    print(f"{asked.database}, {much}, from seed {asked.seed} on, in {folder}", flush=True)
    deadline = time.monotonic() + asked.minutes * 60
    done = number = 0
    while done < asked.kills if asked.kills else time.monotonic() < deadline:
        kills = min(KILLS_PER_ROUND, asked.kills - done) if asked.kills else KILLS_PER_ROUND
        if not _round(asked, folder, asked.seed + number, kills):
            return 1
        done += kills
        number += 1
    print(f"{done} kills, no difference")
    shutil.rmtree(folder)
    return 0


def _round(asked: argparse.Namespace, folder: Path, seed: int, kills: int) -> bool:
    """Do one round in a folder of its own, which stays where something differs."""
    here = folder / str(seed)
    here.mkdir()
    outcome = torture(
        asked.database, here, kills=kills, seed=seed, name="make", workers=asked.workers,
        progress=_show,
    )  # fmt: skip
    _show("")
    print(outcome, flush=True)
    for line in outcome.differences:
        print(f"  {line}")
    if outcome.differences:
        print(f"Databases and logs are kept in {here}.")
        return False
    shutil.rmtree(here)
    return True


def _show(line: str) -> None:
    """Show where we are, over the line before, to somebody who looks on."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{line}")
        sys.stderr.flush()


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.deep.torture", description=__doc__)
    parser.add_argument("--database", choices=databases.ALL, default="sqlite")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--kills", type=int, default=0, help="so many, however long it takes")
    parser.add_argument("--workers", type=int, default=2, help="gunicorn's")
    seed = random.randrange(10**9)
    parser.add_argument("--seed", type=int, default=seed, help="of the first round; then one more")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except pytest.skip.Exception as missing:
        sys.exit(str(missing))
    finally:
        databases.drop_all()
