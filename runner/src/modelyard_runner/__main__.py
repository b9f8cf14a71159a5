"""The program in the box, and the one reader of its environment: `worker` holds a model, `serve` is Cog's HTTP API.

`drive` (for the yard's own use) stands beside a container that Cog built and drives it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # `typing` would be loaded for nothing
if TYPE_CHECKING:
    from modelyard_runner.serve import ServeOptions

USAGE = """usage: python -m modelyard_runner [serve] [--host HOST] [--port PORT] [--upload-url URL]
           [--await-explicit-shutdown BOOL] [--x-mode predict|train] [--threads N] [-h] [-v]
       python -m modelyard_runner worker
"""
HELP = f"""{USAGE}
Cog's HTTP API of the model that COG_PREDICT_TYPE_STUB names, as in "run.py:Runner".

options:
  -h, --help            show this help and end
  -v, --version         show the version and end
  --host HOST           the address to listen on; 0.0.0.0 by default
  --port PORT           the port; else the variable PORT, else 5000
  --upload-url URL      where output files are uploaded, instead of being data URLs
  --await-explicit-shutdown BOOL
                        whatever it is: end on POST /shutdown and SIGINT only, not on SIGTERM
  --x-mode MODE         predict or train; to train needs COG_TRAIN_TYPE_STUB
  --threads N           accepted for old callers; it means nothing
"""
FLAGS = ("host", "port", "upload-url", "await-explicit-shutdown", "x-mode", "threads")


class UsageError(Exception):
    """The command line is not what it should be."""

    code = 2


class NoModelError(UsageError):
    """The environment names no model; 1 is what Cog's server ends with."""

    code = 1


def main(arguments: list[str]) -> int:
    """Runs one half of the box; gives the exit code. Each half is loaded only when it is the one that runs."""
    if sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 - `-m` put it there; a model's `json.py` is not the one we need
        del sys.path[0]
    if arguments[:1] == ["worker"]:
        from modelyard_runner import worker

        told = os.environ.pop("MODELYARD_WORKER", "")
        return worker.main(_handed() if told == "-" else told)
    if arguments[:1] == ["drive"]:
        from modelyard_runner import driver

        return driver.main(sys.stdin.readline())
    given = arguments[1:] if arguments[:1] == ["serve"] else arguments
    try:
        flags = _flags(given)
        if "shown" in flags:
            sys.stdout.write(flags["shown"])
            return 0
        if os.environ.get("MODELYARD_SERVER_PYTHON"):
            # What the model's own packages happen to have of what the server needs may be of any version.
            return _serve_elsewhere(given, "")
        options = _options(flags)
    except UsageError as error:
        sys.stderr.write(f"{error}\n{USAGE}")
        return error.code
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "modelyard_runner":
            raise
        return _serve_elsewhere(given, str(error.name))
    from modelyard_runner.serve import serve

    return serve(options)


def _handed() -> str:
    """A line on stdin, where a container's environment can be looked up by others: what a worker is told, and the
    variables that stand nowhere else."""
    import json

    handed = json.loads(sys.stdin.readline() or "{}")
    os.environ.update(handed.get("environment", {}))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return json.dumps(handed.get("worker", {}))


def _flags(arguments: list[str]) -> dict[str, str]:
    flags: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name in ("-h", "--help"):
            return {"shown": HELP}
        if name in ("-v", "--version"):
            return {"shown": _version()}
        if name.startswith("--") and name[2:] in FLAGS:
            if not equals:
                if not rest:
                    raise UsageError(f"{name} needs a value")
                value = rest.pop(0)
            flags[name[2:]] = value
        else:
            raise UsageError(f"unknown argument {name!r}")
    return flags


def _version() -> str:
    from modelyard_runner.versions import COG_VERSION, VERSION

    return f"modelyard-runner {VERSION}, in the place of coglet (Rust) {COG_VERSION}\n"


def _serve_elsewhere(arguments: list[str], missing: str) -> int:
    """This Python is the model's and has no server; another one has where MODELYARD_SERVER_PYTHON says so."""
    environ = dict(os.environ)
    server = environ.pop("MODELYARD_SERVER_PYTHON", "")
    if not server:
        sys.stderr.write(
            f"ERROR: the server needs {missing}, which is not installed here.\n"
            "hint: pip install 'modelyard-runner[serve]'; `yard serve` and `yard exec python -m cog.server.http` need"
            " nothing in the model's environment\n"
        )
        return 1
    # What is on the path here is the model's; its worker gets it back.
    environ["MODELYARD_BOX"] = environ.pop("PYTHONPATH", "")
    environ["MODELYARD_PYTHON"] = sys.executable
    try:
        os.execve(server, [server, "-m", "modelyard_runner", *arguments], environ)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(
            f"ERROR: MODELYARD_SERVER_PYTHON is {server!r}, which cannot be started: {error.strerror or error}\n"
            "hint: it is the Python that yard itself runs in; `yard exec` sets it\n"
        )
        return 1


def _options(flags: dict[str, str]) -> ServeOptions:
    from pathlib import Path

    from modelyard_runner import log_lines, variables
    from modelyard_runner.serve import READY_FILE, ServeOptions

    environ = os.environ
    mode = flags.get("x-mode", "predict")
    if mode not in ("predict", "train"):
        raise UsageError(f"--x-mode {mode!r}: it must be predict or train")
    variable = "COG_TRAIN_TYPE_STUB" if mode == "train" else "COG_PREDICT_TYPE_STUB"
    if not environ.get(variable):
        raise NoModelError(
            f"ERROR: {variable} environment variable is not set.\n"
            f'hint: set it to the file and the class or function of the model, as in {variable}="run.py:Runner"'
        )
    root = Path.cwd()
    schema = root / ".cog" / "openapi_schema.json"
    told = variables.read(environ)
    return ServeOptions(
        root=root,
        ref=environ[variable],
        python=environ.get("MODELYARD_PYTHON") or "python",
        env=_model_environment(dict(environ)),
        host=flags.get("host", "0.0.0.0"),  # noqa: S104 - in an image; the host decides what is published
        port=_port(flags.get("port") or environ.get("PORT") or "5000"),
        upload_url=flags.get("upload-url") or None,
        mode=mode,
        train_ref=environ.get("COG_TRAIN_TYPE_STUB") if mode == "predict" else None,
        concurrency=told.concurrency,
        setup_timeout=variables.number(environ.get("COG_SETUP_TIMEOUT"), 0) or None,
        run_timeout=variables.number(environ.get("MODELYARD_RUN_TIMEOUT"), 0) or None,
        throttle=told.throttle,
        stream_history=told.stream_history,
        weights=told.weights,
        schema=schema.read_bytes() if schema.is_file() else None,
        webhook_token=told.webhook_token,
        workers=variables.positive(environ.get("MODELYARD_WORKERS")) or 1,
        restart=environ.get("MODELYARD_WORKER_RESTART", "true").lower() not in ("0", "false", "no", "off"),
        explicit_shutdown=bool(flags.get("await-explicit-shutdown")),
        ready_file=READY_FILE if environ.get("KUBERNETES_SERVICE_HOST") else None,
        report=log_lines.set_up(
            environ.get("LOG_FORMAT"), log_lines.level(environ.get("COG_LOG_LEVEL"), environ.get("RUST_LOG"))
        ),
    )


def _model_environment(environ: dict[str, str]) -> dict[str, str]:
    """The worker's: our own packages come before its path only where MODELYARD_BOX says that the model has none."""
    box = environ.pop("MODELYARD_BOX", "")
    if box:
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, (box, environ.get("PYTHONPATH", ""))))
    return environ


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise UsageError(f"--port {text!r}: it must be a number from 0 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
