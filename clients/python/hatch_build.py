"""Compiles the protocol into the wheel: the package's `engram.v1` is always that of the repository's .proto files.

From a checkout the files are ../../proto/proto; a source distribution brings its own copy. Nothing is written into the
tree, so an editable install, which has no place for them, is refused.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# What a client needs; the other files are between nodes and on disk.
FILES = ["types", "rows", "memory", "spaces", "cluster"]


def generate(protos: Path, into: Path) -> None:
    """Writes `engram/v1/*_pb2.py` and their type stubs."""
    from grpc_tools import protoc  # type: ignore[import-untyped]

    names = [f"engram/v1/{name}.proto" for name in FILES]
    code = protoc.main(["protoc", f"-I{protos}", f"--python_out={into}", f"--pyi_out={into}", *names])
    if code != 0:
        sys.exit(f"protoc failed with {code} on {protos}; correct the .proto files")
    package = into / "engram" / "v1"
    (package / "__init__.py").write_text('"""Messages of the protocol, generated from the .proto files."""\n')


class ProtocolHook(BuildHookInterface[Any]):
    """Adds the generated modules to a wheel."""

    PLUGIN_NAME = "custom"
    work: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        if version == "editable":
            sys.exit("an editable install has no generated protocol; use: pip install ./clients/python")
        root = Path(self.root)
        places = [root / "proto", root.parent.parent / "proto" / "proto"]
        protos = next((place for place in places if (place / "engram" / "v1").is_dir()), None)
        if protos is None:
            sys.exit(f"no .proto files in {places[0]} or {places[1]}; build from a whole checkout")
        self.work = Path(tempfile.mkdtemp(prefix="engram-protocol-"))
        generate(protos, self.work)
        package = self.work / "engram" / "v1"
        build_data["force_include"][str(package)] = "engram/v1"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self.work is not None:
            shutil.rmtree(self.work)
