"""One trial: a file is read, and what happened is compared with what may happen."""

import signal
import time
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.readers import Format
from tests.growth import reset, resident

from tersor.errors import TersorError

MOST_SECONDS = 3.0  # of processor time
MOST_BYTES = 400_000_000
HANGS_SECONDS = 60


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: "read", "refused", or what is wrong."""

    kind: str
    detail: str = ""

    @property
    def is_finding(self) -> bool:
        """Whether it may not happen."""
        return self.kind not in {"read", "refused"}


class HangError(BaseException):
    """Reading does not end."""


def attempt(reader: Format, data: bytes, folder: Path) -> Outcome:
    """Read `data` as that kind of file, in an empty folder."""
    path = folder / reader.name
    path.write_bytes(data)
    reset()
    before, start = resident("VmHWM"), time.process_time()
    outcome = Outcome("read")
    try:
        with _alarm(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except TersorError:
        outcome = Outcome("refused")
    except (Exception, HangError) as error:  # noqa: BLE001 - that is what is looked for
        frames = traceback.extract_tb(error.__traceback__)
        places = [f for f in frames if "tersor" in f.filename] or frames
        where = f"{Path(places[-1].filename).name}:{places[-1].name}"
        outcome = Outcome(type(error).__name__, f"{where}: {str(error)[:200]}")
    spent, held = time.process_time() - start, resident("VmHWM") - before
    if outcome.is_finding:
        return outcome
    if spent > MOST_SECONDS:
        return Outcome("slow", f"{spent:.1f} s")
    return Outcome("large", f"{held / 1e6:.0f} MB") if held > MOST_BYTES else outcome


def smaller(reader: Format, data: bytes, folder: Path, tries: int = 300) -> bytes:
    """A shorter file with the same outcome, found by leaving out pieces."""
    wanted = attempt(reader, data, folder)
    size = len(data) // 2
    while size and tries > 0:
        at = 0
        while at < len(data) and tries > 0:
            shorter, tries = data[:at] + data[at + size :], tries - 1
            found = attempt(reader, shorter, folder)
            if found.kind == wanted.kind and found.detail[:30] == wanted.detail[:30]:
                data = shorter
            else:
                at += size
        size //= 2
    return data


@contextmanager
def _alarm():
    """Raise HangError after a minute."""

    def ring(*_):
        raise HangError(f"does not end within {HANGS_SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANGS_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
