"""The files that a ``trust`` line names: there, and of the right kind.

What a certificate says is not looked at here; but a private key, a certificate signing request
or a text in its place is told at once, with the line of the policy that names it.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final, NamedTuple
from urllib.parse import unquote

from sipguard.policy.problems import Problems, Wrong
from sipguard.policy.syntax import Place, Word
from sipguard.policy.trust import TrustFile, TrustReader

MAX_FOLDER_FILES: Final = 2000  # /etc/ssl/certs has some 400
_DER: Final = (b"\x30\x81", b"\x30\x82", b"\x30\x83")  # a SEQUENCE longer than 127 octets
_DER_NAMES: Final = (".cer", ".crt", ".crl", ".der")  # in a folder the name must say so


class Sort(NamedTuple):
    """What a file should hold, in words and as PEM begins it."""

    name: str
    marks: tuple[bytes, ...]

    def is_in(self, octets: bytes) -> bool:
        """Whether PEM of this sort stands somewhere in the octets."""
        return any(mark in octets for mark in self.marks)


CERTIFICATE: Final = Sort(
    "certificate",
    (
        b"-----BEGIN CERTIFICATE-----",
        b"-----BEGIN X509 CERTIFICATE-----",
    ),
)
REVOCATIONS: Final = Sort("revocation list", (b"-----BEGIN X509 CRL-----",))


class TrustFiles:
    """Reads the files of trust lines; what is wrong with them is reported and left out."""

    def __init__(self, reader: TrustReader, problems: Problems) -> None:
        self._reader = reader
        self._problems = problems

    def one(self, word: Word) -> TrustFile | None:
        """Return the file that a word names, whatever it holds."""
        return self._file(_beside(word), word.at)

    def each(self, words: list[Word], sort: Sort) -> Iterator[TrustFile]:
        """Yield the files that words name, those of folders one by one."""
        for word in words:
            name = _beside(word)
            try:
                listed = self._listed(name, word.at)
            except Wrong as wrong:
                self._problems.add(wrong)
                continue
            if listed is not None:
                yield from self._folder(name, listed, word.at, sort)
                continue
            file = self._file(name, word.at)
            if file is None:
                continue
            if file.octets.startswith(_DER) or sort.is_in(file.octets):
                yield file
            else:
                self._problems.error(word.at, *_not_this(file, sort))

    def by_url(self, words: list[Word]) -> Iterator[tuple[str, TrustFile]]:
        """Yield certificates with the URLs that their files are named after."""
        for file in self.each(words, CERTIFICATE):
            url = url_of(file)
            if url.startswith("https://"):
                yield url, file
            else:
                hint = "such as https%3A%2F%2Fcerts.example.org%2Fa.pem"
                what = f"{file.name} is not named after its URL, percent-encoded"
                self._problems.warn(file.place, what, hint)

    def _listed(self, name: str, at: Place) -> tuple[str, ...] | None:
        try:
            listed = self._reader.names(name)
        except (OSError, ValueError) as error:
            raise Wrong(at, f"cannot read {name}: {why(error)}") from None
        if listed is not None and len(listed) > MAX_FOLDER_FILES:
            raise Wrong(at, f"{name} has more than {MAX_FOLDER_FILES} files")
        return listed

    def _folder(
        self, name: str, listed: tuple[str, ...], at: Place, sort: Sort
    ) -> Iterator[TrustFile]:
        """Yield a folder's files of the right sort; others, such as keys, are none of ours."""
        found = False
        for inner in listed:
            if inner.lower().endswith(".key"):
                continue
            file = self._file(str(PurePosixPath(name) / inner), at)
            if file is None:
                return
            is_der = inner.lower().endswith(_DER_NAMES) and file.octets.startswith(_DER)
            if is_der or sort.is_in(file.octets):
                found = True
                yield file
        if not found:
            self._problems.error(at, f"the folder {name} holds no {sort.name}")

    def _file(self, name: str, at: Place) -> TrustFile | None:
        try:
            octets = self._reader.octets(name)
        except (OSError, ValueError) as error:
            hint = "this file decides calls, so the policy is not loaded without it"
            self._problems.error(at, f"cannot read {name}: {why(error)}", hint)
            return None
        return TrustFile(name, octets, at)


def _beside(word: Word) -> str:
    """Return a file's name relative to the policy file that names it."""
    return str(PurePosixPath(word.at.file).parent / word.text)


def _not_this(file: TrustFile, sort: Sort) -> tuple[str, str]:
    """Return what is wrong with a file of another sort, and what to do."""
    if b"PRIVATE KEY-----" in file.octets:
        hint = f"name the {sort.name}; a key has no place on the gateway"
        return f"{file.name} holds a private key and no {sort.name}", hint
    return f"{file.name} holds no {sort.name}", f"a {sort.name} in PEM or DER is meant"


def url_of(file: TrustFile) -> str:
    """Return the URL that a file is named after, percent-encoded; empty if it is after none."""
    url = unquote(PurePosixPath(file.name).name)
    return url if url.startswith(("https://", "http://")) and url.isprintable() else ""


def why(error: Exception) -> str:
    """Return why a file cannot be read, in words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it is not UTF-8 text" if isinstance(error, UnicodeError) else str(error)
