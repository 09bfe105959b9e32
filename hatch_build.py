"""Build hook: compile the packet's way with mypyc when a wheel is built.

The modules are plain Python and run unchanged without it; compiled they take
a third of the time per message. An editable install stays pure, so that what is
edited is what runs. Without a C compiler, or with ``SIPGUARD_PURE=1``, the
wheel is pure as well, and says so.
"""

import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution
from setuptools.command.build_ext import build_ext

# What runs once per message, live or of a capture, and what masks records. The rest stays as it is.
COMPILED: Final = (
    "evidence.py",
    "eviction.py",
    "moment.py",
    "verdict.py",
    "rates.py",
    "replay.py",
    "refusal.py",
    "cli/rerun_line.py",
    "wire/*.py",
    "calls/*.py",
    "media/*.py",
    "guard/*.py",
    "identity/aib.py",
    "identity/aib_memory.py",
    "identity/aib_notes.py",
    "identity/aib_parts.py",
    "identity/certificate.py",
    "identity/correlation.py",
    "identity/digest*.py",
    "identity/direct.py",
    "identity/downgrade.py",
    "identity/names.py",
    "identity/outline.py",
    "identity/paths.py",
    "identity/shown.py",
    "identity/signature.py",
    "identity/signed.py",
    "identity/signer.py",
    "identity/smime.py",
    "identity/trust.py",
    "edge/records/fresh.py",
    "journal/carried.py",
    "journal/escape.py",
    "journal/masking.py",
    "journal/observation.py",
    "journal/shown.py",
    "edge/apart.py",
    "edge/elements.py",
    "edge/media_turnstile.py",
    "edge/netlink.py",
    "edge/nft_messages.py",
    "edge/pcap_file.py",
    "edge/proofs.py",
    "edge/queued.py",
    "edge/turnstile.py",
    "streams/head.py",
    "streams/live.py",
    "policy/compile.py",
    "policy/fields.py",
    "policy/leaves.py",
    "policy/proven.py",
    "policy/questions.py",
    "policy/readings.py",
    "policy/resolve.py",
    "policy/rules.py",
    "policy/sets.py",
    "policy/subject.py",
    "policy/why.py",
)
# Read by cryptography's ASN.1 decoder through annotations, which compiled classes lack.
INTERPRETED: Final = ("__init__.py", "cms_syntax.py")


class CompileHook(BuildHookInterface[Any]):
    """Adds the compiled modules to a wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tell hatchling what to put where."""
        if version != "standard" or self.target_name != "wheel":
            return
        if os.environ.get("SIPGUARD_PURE"):
            return
        if not any(map(shutil.which, ("cc", "gcc", "clang"))):
            self.app.display_warning("no C compiler: building sipguard without compiled modules")
            return
        self._folder = tempfile.TemporaryDirectory()
        built = _compile(Path(self.root), Path(self._folder.name))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        for library in built.rglob("*.so"):
            build_data["force_include"][str(library)] = str(library.relative_to(built))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what the compiler left."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()


class _OnAllCores(build_ext):
    """Compiles the files of one extension at once: ``parallel`` means extensions only."""

    def build_extensions(self) -> None:
        """Build everything."""
        compile_in_turn = self.compiler.compile

        def compile_at_once(sources: list[str], **options: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = pool.map(partial(compile_in_turn, **options), [[one] for one in sources])
                return list(chain.from_iterable(objects))

        self.compiler.compile = compile_at_once
        super().build_extensions()


def _compile(root: Path, folder: Path) -> Path:
    """Compile the modules in a copy of the tree; return the folder with the libraries."""
    from mypyc.build import mypycify

    shutil.copytree(root / "sipguard", folder / "sipguard")
    library = folder / "library"
    before, arguments = Path.cwd(), sys.argv
    os.chdir(folder)
    try:
        names = sorted(
            str(path)
            for pattern in COMPILED
            for path in Path("sipguard").glob(pattern)
            if path.name not in INTERPRETED
        )
        options = ["--config-file", os.devnull, "--ignore-missing-imports", *names]
        # As one file, no second core can help, it takes gigabytes, and runs no faster.
        extensions = mypycify(options, multi_file=True, debug_level="0")
        for extension in extensions:
            # A function that nobody else may replace is called without a look into a table.
            extension.extra_compile_args.append("-fvisibility=hidden")
        command = _OnAllCores(Distribution({"name": "sipguard", "ext_modules": extensions}))
        command.parallel = True
        command.build_lib = str(library)
        command.build_temp = str(folder / "temporary")
        command.ensure_finalized()
        command.run()
    finally:
        os.chdir(before)
        sys.argv = arguments
    return library
