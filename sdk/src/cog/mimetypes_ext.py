"""Media types of model files that Python's own table lacks."""

from __future__ import annotations

import mimetypes
from typing import Any

_TYPES = {
    ".avif": "image/avif",
    ".bin": "application/octet-stream",
    ".flac": "audio/flac",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".heic": "image/heic",
    ".m4a": "audio/mp4",
    ".mtl": "model/mtl",
    ".obj": "model/obj",
    ".safetensors": "application/octet-stream",
    ".stl": "model/stl",
    ".usdz": "model/vnd.usdz+zip",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
}


def install_mime_extensions(table: Any = mimetypes) -> None:
    """Teach `mimetypes`, or a `MimeTypes` of the caller's, the endings above."""
    for ending, kind in _TYPES.items():
        table.add_type(kind, ending)
