"""What of the environment of whoever starts a model the model is given: what describes the machine, and little else.

A variable that only its author's shell has would be missing wherever else the model runs. So it sees what its cog.yaml
says, what it is given by name, and this.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

# For every model, also those of other authors, which a yard runs.
MACHINE: Final = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)
# For what a person runs as themselves, in their own project: how their machine computes, where it keeps what was
# downloaded, by which way it reaches the net, and the terminal.
_PERSONAL: Final = (
    "LOGNAME",
    "SHELL",
    "LANGUAGE",
    "LC_*",
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "FORCE_COLOR",
    "TMPDIR",
    "TMP",
    "TEMP",
    "XDG_*",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "CUDA_*",
    "NVIDIA_*",
    "NCCL_*",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "PYTORCH_*",
    "OMP_*",
    "MKL_*",
    "OPENBLAS_*",
    "HF_*",
    "TORCH_HOME",
    # How Cog's server, and ours, is told what to log.
    "LOG_FORMAT",
    "COG_LOG_LEVEL",
    "RUST_LOG",
)


def machine(environ: Mapping[str, str]) -> dict[str, str]:
    """What an instance of a yard is given."""
    return {name: environ[name] for name in MACHINE if name in environ}


def personal(environ: Mapping[str, str]) -> dict[str, str]:
    """What a person's own model, or a command in its environment, is given."""
    patterns = (*MACHINE, *_PERSONAL)
    return {name: value for name, value in environ.items() if any(fnmatchcase(name, one) for one in patterns)}
