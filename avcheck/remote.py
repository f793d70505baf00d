"""Media behind a URL (s3://, gs://, https://, memory://): copied to a scratch file, as ranged reads of MP4 are slow.

The decoder only ever opens the local copy. fsspec and its back ends are imported when the first URL is met.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

from avcheck.errors import MediaError

Source: TypeAlias = Path | str  # a local file, or a URL

_CHUNK = 8 << 20  # bytes


def is_url(source: Source) -> TypeGuard[str]:
    """Whether a source is a URL; a single letter before the colon is a drive of Windows."""
    return isinstance(source, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source) is not None


def url_stamp(url: str) -> tuple[int | None, int | None]:
    """Size in bytes and time of the last change in ns since 1970 of what lies behind a URL, None where it does not say.

    Raises MediaError.
    """
    with _told(url):
        system, path = _file_system(url)
        size = system.info(path).get("size")
        try:
            changed = int(system.modified(path).timestamp() * 1e6) * 1000  # a float holds no nanoseconds of this century
        except NotImplementedError:
            changed = None
        return size, changed


@contextmanager
def fetched(url: str) -> Iterator[Path]:
    """A local copy of what lies behind a URL, removed in the end. Raises MediaError."""
    with tempfile.TemporaryDirectory(prefix="avcheck-") as folder:
        local = Path(
            folder, re.sub(r"[^A-Za-z0-9_.-]", "_", url.partition("?")[0].rpartition("/")[2])[-100:].lstrip(".") or "media"
        )
        with _told(url):
            system, path = _file_system(url)
            size, free = system.info(path).get("size") or 0, shutil.disk_usage(folder).free
            if size > free:
                wanted = f"needs {size / 1e9:.1f} GB of scratch space and {tempfile.gettempdir()} has {free / 1e9:.1f}"
                raise MediaError(f"{url}: {wanted}; set TMPDIR to a larger disk")
            with system.open(path, "rb") as remote, local.open("wb") as copy:
                shutil.copyfileobj(remote, copy, _CHUNK)
        yield local


def _file_system(url: str) -> tuple[Any, str]:
    import fsspec  # late: few runs need it

    system, path = fsspec.core.url_to_fs(url)
    return system, path


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Every back end has errors of its own; here they become one line that names the URL."""
    try:
        yield
    except MediaError:
        raise
    except ImportError as error:
        kind = url.partition("://")[0]
        reason = f"reading {kind}:// needs another package ({error}): pip install 'avcheck[remote]'"
        raise MediaError(f"{url}: {reason}") from error
    except FileNotFoundError as error:
        raise MediaError(f"{url}: no such file") from error
    except Exception as error:  # a missing permission, a broken connection, a full disk, a scheme nobody knows
        text = " ".join(str(error).split())[:200]
        raise MediaError(f"{url}: cannot be fetched: {type(error).__name__}: {text}") from error
