"""Media behind a URL (s3://, gs://, https://): copied to a scratch file, because ranged reads of
MP4 are slow.

The decoder only opens the local copy. fsspec and its back ends are imported with the first URL. A
URL often holds a password or a signature, so all that is shown or kept of it, errors included, goes
through `shown`.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeGuard
from urllib.parse import unquote_plus

from avcheck.errors import FetchFailed, MediaError, Missing

Location: TypeAlias = Path | str  # a local file, or a URL
# Size (bytes) and modification time (ns since 1970), where known
Stamp: TypeAlias = tuple[int | None, int | None]

# What a URL may begin with. fsspec knows many more; some read this machine's own files (file,
# local) or look inside other files (zip, simplecache). A list from somebody else must not lead
# there.
SCHEMES = frozenset(
    {"http", "https", "ftp", "sftp"}
    | {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"}
    | {"hdfs", "webhdfs"}
)
MAX_URL = 8192  # characters; a signed URL has about 2000

_CHUNK = 8 << 20  # bytes
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+"
_AZURE = frozenset({"abfs", "abfss"})  # what stands before @ in these is a container
# Parameters that say who may read a file and until when, not which file it is. They change each
# time a URL is signed.
_SIGNS = re.compile(
    r"x-(amz|goog|oss|cos|ms)-.*|(aws|oss)accesskeyid|googleaccessid|key-pair-id|policy|expir(es|y)|sig|signature|hmac"
    r"|(access_?|auth_?|security_?|session_?|id_?)?token|auth|authorization|jwt|pass|passwd|password|pwd|secret|api_?key",
    re.IGNORECASE,
)
_SIGNS_FOR_AZURE = frozenset(
    {"saoid", "scid", "sdd", "se", "ses", "sip", "ske", "skoid", "sks", "skt"}
    | {"sktid", "skv", "sp", "spr", "sr", "srt", "ss", "st", "suoid", "sv"}
)
_SHOWN = re.compile(r"redacted(-[0-9a-f]{12})?")
_BEGINS = rf"""(?:{_SCHEME}:/|(?:{"|".join(sorted(SCHEMES))}):)/"""
# A password may hold a quote, so a URL ends at one only if another URL follows; a leftover quote is
# removed later.
_IN_TEXT = re.compile(rf"""{_BEGINS}(?:(?!'\W{{0,4}}{_BEGINS})[^\s"<>])+""", re.IGNORECASE)


def is_url(source: Location) -> TypeGuard[str]:
    """Whether a source is a URL, including one that `url_problem` refuses. One letter before the
    colon is a Windows drive.
    """
    return isinstance(source, str) and re.match(rf"({_SCHEME}::)*{_SCHEME}://", source) is not None


def url_problem(url: str) -> str | None:
    """Why a URL is not opened, and what to do, in one line; None for one that may be."""
    scheme = url.partition(":")[0].lower()
    if "::" in url:
        return (
            "a chain of file systems (::) is not opened; give the URL of the file itself, or "
            "copy it here first"
        )
    if scheme in ("file", "local"):
        return f"{scheme}:// is not opened; give the path of a local file without it"
    if scheme not in SCHEMES:
        known = ", ".join(sorted(SCHEMES))
        return f"{scheme}:// is not opened, only {known}; copy the file here first"
    if len(url) > MAX_URL:
        return f"a URL of more than {MAX_URL} characters is not opened; copy the file here first"
    if re.search(r"[\x00-\x1f\x7f]", url):
        return "a URL with a control character is not opened; write it as %XX"
    return None


def shown(source: Location) -> str:
    """A source as it may be shown and kept, and as later runs know it: a path as it is, a URL
    without its secrets.

    A short hash replaces the user name and everything after a question mark, so that files that
    differ only there stay distinct. Passwords and signing parameters are not part of the hash, so a
    URL that is signed again stays the same. What has been through here already comes out unchanged.
    """
    if not is_url(source):
        return str(source)
    if "::" in source:  # not opened, only named in an error
        return "::".join(
            _hidden(part) if "@" in part and not is_url(part) else shown(part)
            for part in source.split("::")
        )
    scheme, rest = re.split(r"(?<=://)", source, maxsplit=1)
    if scheme.lower().startswith("http"):
        rest = rest.partition("#")[0]  # never sent
    place, mark, query = rest.partition("?")
    user, at, host, slash, path = _parts(place)
    if scheme.lower().removesuffix("://") in _AZURE and ":" not in user:
        host, user, at = f"{user}{at}{host}", "", ""
    # What looks like a port may be part of a password
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.]*\]|[^:]*)(:\d*)?", host):
        host = "redacted"
    if at:
        host = f"{_hidden(user.partition(':')[0])}@{host}"
    if mark:
        parts = query.split("&")
        names = [part.partition("=")[0] for part in parts]
        signs = _SIGNS_FOR_AZURE if "sig" in names else frozenset()
        kept = [
            part
            for part, name in zip(parts, names, strict=True)
            if not (_SIGNS.fullmatch(name) or name in signs)
        ]
        query = _hidden("&".join(kept))
    return f"{scheme}{host}{slash}{path}{mark}{query}"


def as_sent(url: str) -> str:
    """A URL as its server gets it, secrets included; it tells two URLs apart. Not to be shown or
    kept.
    """
    return url.partition("#")[0] if url.lower().startswith("http") else url


def without_secrets(text: str, source: Location = "") -> str:
    """A text for people, with every URL as `shown` gives it, and without what it repeats of the URL
    `source`.
    """
    if is_url(source):
        text = text.replace(source, shown(source))
        place, _, query = source.partition("://")[2].partition("?")
        user = _parts(place).user
        known = shown(source)
        secrets = [
            user,
            *user.partition(":")[::2],
            query,
            *(part.partition("=")[2] for part in re.split("[&#]", query)),
        ]
        for secret in sorted(
            {each for raw in secrets for each in (raw, unquote_plus(raw))}, key=len, reverse=True
        ):
            if len(secret) > 3 and secret not in known:  # shorter ones occur everywhere
                text = text.replace(secret, "redacted")

    def show(match: re.Match[str]) -> str:
        url = match[0].rstrip(".,:;!)]'")
        full = url if "://" in url else url.replace(":/", "://", 1)  # pathlib writes it so
        return shown(full) + match[0][len(url) :]

    return _IN_TEXT.sub(show, text)


def url_stamp(url: str) -> Stamp:
    """Size in bytes and modification time in ns since 1970 of what a URL leads to; None if the
    server does not say.

    Raises MediaError.
    """
    with _fetching(url):
        system, path = _file_system(url)
        size = system.info(path).get("size")
        try:
            # A float cannot hold today's time in nanoseconds
            changed = int(system.modified(path).timestamp() * 1e6) * 1000
        except NotImplementedError:
            changed = None
        return size, changed


@contextmanager
def fetched(url: str) -> Iterator[Path]:
    """A local copy of what a URL leads to, removed at the end. Raises MediaError."""
    with tempfile.TemporaryDirectory(prefix="avcheck-") as folder:
        local = Path(folder, _scratch_name(url))
        with _fetching(url):
            system, path = _file_system(url)
            size, free = system.info(path).get("size") or 0, shutil.disk_usage(folder).free
            if size > free:
                wanted = (
                    f"the file needs {size / 1e9:.1f} GB of scratch space, and "
                    f"{tempfile.gettempdir()} has {free / 1e9:.1f}"
                )
                raise FetchFailed(shown(url), f"{wanted}; set TMPDIR to a larger disk")
            with system.open(path, "rb") as remote, local.open("wb") as copy:
                shutil.copyfileobj(remote, copy, _CHUNK)
        yield local


def _scratch_name(url: str) -> str:
    """What the local copy of a file is called: like the file, as far as every system allows it."""
    name = shown(url).partition("?")[0].rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)[-100:].lstrip(".") or "media"


def _file_system(url: str) -> tuple[Any, str]:
    problem = url_problem(url)
    if problem:
        raise FetchFailed(shown(url), problem)
    import fsspec  # late: few runs need it

    scheme, colon, rest = url.partition(":")
    system, path = fsspec.core.url_to_fs(scheme.lower() + colon + rest)
    return system, path


class _Parts(NamedTuple):
    """What stands between :// and the question mark of a URL; "" for what is missing."""

    user: str  # with the password
    at: str  # "@"
    host: str  # with the port
    slash: str  # "/"
    path: str  # behind it


def _parts(place: str) -> _Parts:
    """The parts of what stands between :// and the question mark."""
    host, slash, path = place.partition("/")
    # What looks like a port may begin a password that holds a slash
    if "@" in path and re.fullmatch(r"[^@]*:\d*", host):
        user, at, place = place.rpartition("@")
        return _Parts(user, at, *place.partition("/"))
    return _Parts(*host.rpartition("@"), slash, path)


def _hidden(text: str) -> str:
    """The hash that replaces a hidden text: equal texts have equal hashes."""
    if not text or _SHOWN.fullmatch(text):
        return text or "redacted"
    secret = text.encode("utf-8", "surrogateescape")
    return f"redacted-{hashlib.blake2b(secret, digest_size=6).hexdigest()}"


@contextmanager
def _fetching(url: str) -> Iterator[None]:
    """Turn the errors of every back end into one line that names the URL without its secrets."""
    try:
        yield
    except MediaError:
        raise
    except ImportError as error:
        kind = url.partition("://")[0]
        reason = f"reading {kind}:// needs another package ({error}): pip install 'fsspec[http,s3]'"
        raise FetchFailed(shown(url), reason) from error
    except FileNotFoundError as error:
        raise Missing(shown(url), "there is no such file; check the URL") from error
    # A missing permission, a broken connection, a full disk, a scheme nobody knows
    except Exception as error:
        text = without_secrets(" ".join(str(error).split()), url)[:200]
        raise FetchFailed(
            shown(url), f"the file cannot be fetched: {type(error).__name__}: {text}"
        ) from error
