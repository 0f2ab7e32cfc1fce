"""The checks of `cbalign doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

import cbalign
from cbalign.cli.failures import with_options
from cbalign.errors import DeviceError
from cbalign.experiment.unions import slow_parts, slowness, unusable, usable
from cbalign.parts.origin import PartOrigin
from cbalign.parts.registry import registry
from cbalign.runtime.machine import ask_gpus
from cbalign.runtime.memory_errors import is_unmapped_library
from cbalign.runtime.user_cache import user_cache

HealthState = Literal["ok", "absent", "problem"]
TELEMETRY_OFF = "ORT_DISABLE_TELEMETRY"
LEAST_FREE = 2 * 2**30  # bytes; a checkpoint of the published model with teacher and optimiser takes 4 GiB


@dataclass(frozen=True)
class Check:
    """The result of a check; `absent` means that something optional is missing."""

    name: str
    state: HealthState
    found: str
    remedy: str | None = None


def checks(folder: Path) -> Iterator[Check]:
    """Check everything that cbalign depends on.

    Args:
        folder: where runs and bundles are written.
    """
    yield Check("python", "ok", f"{platform.python_version()}, {sys.executable}")
    yield Check("system", "ok", f"{platform.platform()}, {os.cpu_count()} cores{_memory()}")
    gpus = _gpus()
    for check in _packages():
        # CUDA's packages take gigabytes and are useless without a GPU.
        useless = check.name in ("extra gpu", "extra tensorrt") and check.state == "absent" and not gpus
        yield replace(check, remedy=None) if useless else check
    yield from _plugins()
    yield from (Check("gpu", "ok", gpu) for gpu in gpus) if gpus else [Check("gpu", "absent", "no NVIDIA GPU")]
    yield _onnxruntime(gpus)
    yield _tensorrt(gpus)
    yield _telemetry()
    yield _torch(gpus)
    yield _disk(folder)
    yield _features()


def _memory() -> str:
    try:
        return f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB memory"
    except (AttributeError, ValueError, OSError):
        return ""


def _packages() -> Iterator[Check]:
    try:
        own = metadata.distribution("cbalign")
    except metadata.PackageNotFoundError:
        yield Check("cbalign", "problem", "runs from source, is not installed", "pip install -e .")
        return
    place = f"{cbalign.__version__}, {Path(cbalign.__file__).parent}"
    if own.version == cbalign.__version__:
        yield Check("cbalign", "ok", place)
    else:  # an editable installation whose source was updated: pip checks requirements against the older version
        yield Check(
            "cbalign", "problem", f"{place}, but installed as {own.version}", "install it again: pip install -e ."
        )
    yield _group("packages", list(_required("cbalign", "")), "pip install --upgrade cbalign", optional=False)
    for extra in own.metadata.get_all("Provides-Extra") or ():
        install = f"pip install 'cbalign[{extra}]'"
        yield _group(f"extra {extra}", list(_required("cbalign", extra)), install, optional=True)


def _plugins() -> Iterator[Check]:
    """Distributions that add parts to cbalign."""
    found: dict[PartOrigin, list[str]] = {}
    broken: dict[PartOrigin, list[str]] = {}
    for part in registry().parts:
        if not part.origin.is_own and part.name in usable(part.kind):
            found.setdefault(part.origin, []).append(f"{part.kind.noun} {part.name}")
    for each in unusable():
        broken.setdefault(each.origin, []).append(f"{each.name}: {each.reason}")
    slow = {part.origin: slowness(part) for part in slow_parts()}
    for origin in {**found, **broken}:
        name = f"plug-in {origin.distribution}"
        if origin in slow and origin not in broken:
            remedy = "import torch only in the modules that `builds` names"
            yield Check(name, "problem", f"{origin.version}; {slow[origin]}", remedy)
        elif origin in broken:
            remedy = f"pip install --upgrade {origin.distribution}, or pip uninstall {origin.distribution}"
            yield Check(name, "problem", f"{origin.version}; {'; '.join(broken[origin])}", remedy)
        else:
            yield Check(name, "ok", f"{origin.version}: {', '.join(found[origin])}")


def _required(package: str, extra: str) -> Iterator[Requirement]:
    """Requirements of a package on this machine, or those that an extra adds; extras of other packages are resolved."""
    try:
        texts = metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return
    for requirement in map(Requirement, texts):
        marker = requirement.marker
        wanted = marker is None or marker.evaluate({"extra": extra})
        always = marker is None or marker.evaluate({"extra": ""})
        if wanted and not (extra and always):
            yield requirement
            for nested in sorted(requirement.extras):
                yield from _required(requirement.name, nested)


def _group(name: str, requirements: Sequence[Requirement], install: str, *, optional: bool) -> Check:
    found, missing, wrong = [], [], []
    for requirement in requirements:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            missing.append(requirement.name)
            continue
        found.append(f"{requirement.name} {version}")
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        return Check(name, "problem", "; ".join(wrong), install)
    if missing:
        return Check(name, "absent" if optional else "problem", f"{', '.join(missing)} not installed", install)
    return Check(name, "ok", ", ".join(found))


def _gpus() -> list[str]:
    """Name, memory and driver version of each NVIDIA GPU."""
    found = ask_gpus("name", "memory.total", "driver_version")
    return [f"{name}, {size} MiB, driver {driver}" for name, size, driver in found]


def _onnxruntime(gpus: Sequence[str]) -> Check:
    name = "onnxruntime"
    installed = [package for package in ("onnxruntime", "onnxruntime-gpu") if _is_installed(package)]
    if len(installed) > 1:
        keep = "onnxruntime-gpu" if gpus or sys.platform == "linux" else "onnxruntime"
        return Check(
            name,
            "problem",
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files",
            f"pip uninstall -y onnxruntime onnxruntime-gpu && pip install {keep}",
        )
    try:
        import onnxruntime

        from cbalign.runtime.placement import find_device
    except ImportError as error:
        return Check(name, "problem", f"cannot be imported: {error}", "pip install --force-reinstall onnxruntime-gpu")
    providers = ", ".join(each.removesuffix("ExecutionProvider") for each in onnxruntime.get_available_providers())
    found = f"{onnxruntime.__version__}, providers {providers}"
    if not gpus:
        return Check(name, "ok", found)
    try:
        find_device("cuda")
    except DeviceError as error:
        return Check(
            name, "problem", f"{found}; the GPU cannot be used: {error.message}", with_options(error.remedy or "")
        )
    return Check(name, "ok", f"{found}; the GPU can be used")


def _tensorrt(gpus: Sequence[str]) -> Check:
    from cbalign.runtime.placement import find_device
    from cbalign.runtime.tensorrt import library_folder, load_libraries

    if not gpus:
        problem = load_libraries()
        return Check("tensorrt", "absent", problem or "its libraries load, and there is no NVIDIA GPU")
    try:
        find_device("tensorrt")
    except DeviceError as error:
        return Check("tensorrt", "absent", error.message, with_options(error.remedy or ""))
    return Check("tensorrt", "ok", f"its libraries load{f' from {folder}' if (folder := library_folder()) else ''}")


def _telemetry() -> Check:
    """Whether onnxruntime sends usage data; `import cbalign` turns that off unless the user set the variable."""
    if os.environ.get(TELEMETRY_OFF, "").lower() in ("1", "true", "yes", "on"):
        return Check("telemetry", "ok", f"off: cbalign sends nothing, and onnxruntime does not with {TELEMETRY_OFF}=1")
    value = os.environ.get(TELEMETRY_OFF, "")
    return Check(
        "telemetry",
        "problem",
        f"onnxruntime may send usage data: {TELEMETRY_OFF} is {value!r} in the environment",
        f"unset {TELEMETRY_OFF}, or set it to 1",
    )


def _is_installed(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _torch(gpus: Sequence[str]) -> Check:
    try:
        import torch
    except ModuleNotFoundError:
        return Check("torch", "absent", "not installed: no training and no export", "pip install 'cbalign[train]'")
    except (ImportError, OSError) as error:
        again = "pip install --force-reinstall 'cbalign[train]'"
        remedy = "raise the limit of memory: ulimit -v and -d" if is_unmapped_library(error) else again
        return Check("torch", "problem", f"cannot be imported: {error}", remedy)
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    found = f"{torch.__version__}, built {'for ' if torch.version.cuda else ''}{build}"
    if not gpus:
        return Check("torch", "ok", found)
    if not torch.cuda.is_available():
        remedy = "Install a build of torch for the driver's CUDA version: https://pytorch.org/get-started/locally/"
        return Check("torch", "problem", f"{found}; it does not see the GPU", remedy)
    major, minor = torch.cuda.get_device_capability()
    return Check("torch", "ok", f"{found}; sees {torch.cuda.device_count()} GPU, compute capability {major}.{minor}")


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    found = f"{free / 2**30:.1f} GiB free in {folder.resolve()}"
    if not os.access(folder, os.W_OK):
        return Check("disk", "problem", f"{folder.resolve()} is not writable", "Use a folder that you can write to.")
    if free < LEAST_FREE:
        return Check("disk", "problem", found, "Free some space, or use --runs-dir on another disk.")
    return Check("disk", "ok", found)


def _features() -> Check:
    """The size of the features of frozen towers, which nothing removes by itself."""
    folder = user_cache("features")
    files = [path for path in folder.glob("*/*") if path.is_file()] if folder.is_dir() else []
    size = sum(path.stat().st_size for path in files)
    count = len({path.parent for path in files})
    found = f"{size / 1e6:,.0f} MB for {count} towers and augmentations in {folder}" if files else f"none in {folder}"
    return Check("kept features", "ok", f"{found}; may be removed at any time" if files else found)
