"""From IR to functions that ctypes can call: the one place that knows llvmlite.

Compiling takes about half a second, so the object code is kept in a folder, under a key of everything that it depends on:
IR, CPU, features, llvmlite's version. Files are written under a temporary name, synced and renamed, carry their own
SHA-256, and are used only if they and their folder belong to this user and nobody else may write to them: whatever is in
doubt is compiled again. Linking is done by ORC (LLJIT) and takes two milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

_DIGEST = 32


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the code is made for, in LLVM's names."""

    cpu: str
    features: str = ""


@dataclass(frozen=True, kw_only=True)
class Host:
    """This machine, in LLVM's names; ``features`` are the ones that the processor and the system have."""

    cpu: str
    features: frozenset[str]


class Library:
    """Linked code. Its functions may be called while it is referenced, from any number of threads."""

    def __init__(self, addresses: Any, keep: object) -> None:
        self._addresses = addresses
        self._keep = keep

    def function(self, name: str, *arguments: Any) -> Callable[..., None]:
        """Return ``void name(arguments)``; a call releases the interpreter lock."""
        return ctypes.CFUNCTYPE(None, *arguments)(self._addresses[name])


@cache
def _binding() -> Any:
    """Return llvmlite's binding, ready for this machine.

    Raises:
        ImportError: llvmlite is not installed (extra ``fast``).
    """
    import llvmlite.binding as binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding


@cache
def host() -> Host | None:
    """Return what this machine can run, or None without llvmlite or off x86-64."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return None
    try:
        binding = _binding()
        features = binding.get_host_cpu_features()
        return Host(cpu=binding.get_host_cpu_name(), features=frozenset(name for name, there in features.items() if there))
    except (ImportError, OSError, RuntimeError):
        return None


def cache_path(folder: Path, name: str, ir: str, target: Target) -> Path:
    """Return where the object code of this IR is kept."""
    return folder / f"{name}-{_key(ir, target)[:40]}.o"


@cache
def _key(ir: str, target: Target) -> str:
    import llvmlite

    parts = (ir, target.cpu, target.features, str(llvmlite.__version__))
    return sha256(b"".join(sha256(part.encode()).digest() for part in parts)).hexdigest()


def read_cached(path: Path) -> bytes | None:
    """Return object code from the cache, or None if it is not there or in any doubt."""
    try:
        for place in (path, path.parent):
            found = place.stat()
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return None
        data = path.read_bytes()
    except OSError:
        return None
    digest, code = data[:_DIGEST], data[_DIGEST:]
    return code if sha256(code).digest() == digest else None


def write_cached(path: Path, code: bytes) -> None:
    """Put object code into the cache: all of it or nothing.

    Raises:
        OSError: the folder cannot be written to.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(sha256(code).digest() + code)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def compile_object(ir: str, target: Target) -> bytes:
    """Return the object code of a module. Takes about half a second.

    Raises:
        RuntimeError: LLVM refuses the module or the target.
    """
    module = _binding().parse_assembly(ir)
    module.verify()
    return bytes(_machine(target).emit_object(module))  # no optimisation passes: the IR is final


def link(name: str, code: bytes, target: Target, exports: Sequence[str]) -> Library:
    """Return the functions of object code.

    Raises:
        RuntimeError: it cannot be linked.
    """
    binding = _binding()
    engine = binding.create_lljit_compiler(_machine(target))
    builder = binding.JITLibraryBuilder().add_object_img(code).add_current_process()
    for export in exports:
        builder.export_symbol(export)
    tracker = builder.link(engine, name)
    return Library(tracker, engine)


def _machine(target: Target) -> Any:
    default = _binding().Target.from_default_triple()
    return default.create_target_machine(cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="default")
