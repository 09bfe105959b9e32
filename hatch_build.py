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
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# What runs once per message. Loading, recording and showing stay as they are.
COMPILED: Final = (
    "evidence.py",
    "eviction.py",
    "moment.py",
    "verdict.py",
    "rates.py",
    "replay.py",
    "refusal.py",
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
    "identity/direct.py",
    "identity/names.py",
    "identity/outline.py",
    "identity/paths.py",
    "identity/shown.py",
    "identity/signature.py",
    "identity/signed.py",
    "identity/signer.py",
    "identity/smime.py",
    "identity/trust.py",
    "edge/apart.py",
    "edge/elements.py",
    "edge/media_turnstile.py",
    "edge/netlink.py",
    "edge/nft_messages.py",
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


def _compile(root: Path, folder: Path) -> Path:
    """Compile the modules in a copy of the tree; return the folder with the libraries."""
    from mypyc.build import mypycify
    from setuptools import Distribution

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
        distribution = Distribution({"name": "sipguard", "ext_modules": mypycify(options)})
        command = distribution.get_command_obj("build_ext")
        command.build_lib = str(library)
        command.build_temp = str(folder / "temporary")
        command.ensure_finalized()
        command.run()
    finally:
        os.chdir(before)
        sys.argv = arguments
    return library
