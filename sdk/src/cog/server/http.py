"""`python -m cog.server.http`: the server of the box under the name that Cog's images start it by."""

from __future__ import annotations

import runpy

if __name__ == "__main__":
    # By name: the SDK stands alone, and the server is beside it only in a box.
    runpy.run_module("modelyard_runner", run_name="__main__", alter_sys=True)
