"""The package: its protocol is the repository's, and its code says what it is."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import engram
import engram.v1
import pytest
from engram import _rpc, errors
from engram.v1 import cluster_pb2, memory_pb2, spaces_pb2, types_pb2

HERE = Path(__file__).resolve().parents[1]
PROTOS = HERE.parents[1] / "proto" / "proto"
LINES_MAX, FUNCTION_LINES_MAX = 400, 70


def build_hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", HERE / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_installed_protocol_is_that_of_the_proto_files(tmp_path: Path) -> None:
    """A package that was installed before a change of the protocol is told from one installed after it."""
    pytest.importorskip("grpc_tools")
    build_hook().generate(PROTOS, tmp_path)
    installed = Path(engram.v1.__path__[0])
    fresh = {path.name: path.read_text() for path in (tmp_path / "engram" / "v1").glob("*.py*")}
    assert len(fresh) == 11
    assert {name: (installed / name).read_text() for name in fresh} == fresh


def test_a_source_distribution_brings_the_protocol_with_it(tmp_path: Path) -> None:
    """A wheel is made of it with no repository around."""
    pytest.importorskip("hatchling")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    subprocess.run([*build, "-t", "sdist"], cwd=HERE, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    subprocess.run([*build, "-t", "wheel"], cwd=archive.with_suffix("").with_suffix(""), check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = subprocess.run([sys.executable, "-m", "zipfile", "-l", wheel], check=True, capture_output=True, text=True)
    assert "engram/v1/memory_pb2.py" in names.stdout and "engram/py.typed" in names.stdout
    assert not (HERE / "dist").exists() and not (HERE / "src" / "engram" / "v1").exists()


def test_error_kinds_and_methods_are_those_of_the_protocol() -> None:
    kinds = {name.removeprefix("ERROR_KIND_"): number for name, number in types_pb2.ErrorKind.items()}
    assert {kind.name: kind.value for kind in errors.ErrorKind} == kinds
    services = {
        service.name: service
        for module in (memory_pb2, spaces_pb2, cluster_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    }
    methods = [method for method in vars(_rpc).values() if isinstance(method, _rpc.Method)]
    assert len(methods) == 11
    for method in methods:
        described = services[method.service].methods_by_name[method.name]
        assert described.output_type is method.response.DESCRIPTOR


@pytest.mark.parametrize("path", sorted((HERE / "src").rglob("*.py")) + sorted((HERE / "tests").glob("*.py")), ids=str)
def test_files_have_a_header_and_stay_short(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)
    assert ast.get_docstring(tree), f"{path.name} says nothing of itself"
    assert len(source.splitlines()) <= LINES_MAX
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES_MAX, f"{path.name}: {node.name} is long"


def test_every_public_name_is_there_and_both_clients_have_the_same_calls() -> None:
    assert all(hasattr(engram, name) for name in engram.__all__)

    def calls(of: type) -> set[str]:
        return {name for name in vars(of) if not name.startswith("_")}

    for ours, theirs in ((engram.Client, engram.aio.Client), (engram.Space, engram.aio.Space)):
        assert calls(ours) - calls(theirs) == set()
        assert calls(theirs) - calls(ours) <= {"load"}
