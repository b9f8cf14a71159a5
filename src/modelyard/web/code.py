"""The same call in each language: what somebody copies out of the page works against this yard as it stands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.web.form import Field, Form

TOKEN = "$MODELYARD_TOKEN"  # noqa: S105 - the variable that holds one
_PLACEHOLDERS = {"file": "https://example.org/file", "number": 1, "slider": 1, "flag": True, "json": {}, "list": []}


@dataclass(frozen=True, slots=True)
class Sample:
    """One language: `key` names it in addresses, `name` for people."""

    key: str
    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is called: the yard's address, `owner/name`, the version where it is not the latest, whether its text
    comes piece by piece."""

    origin: str
    model: str
    version: str | None
    iterator: bool
    inputs: Mapping[str, Any]

    @property
    def spelling(self) -> str:
        """What the clients take."""
        return f"{self.model}:{self.version}" if self.version else self.model


def example(form: Form | None) -> dict[str, Any]:
    """Inputs that show the form's shape: those that must be given, with what stands in them."""
    fields = () if form is None else form.all
    told = [field for field in fields if _told(field)]
    return {field.name: _placeholder(field) if field.value is None else field.value for field in told}


def _told(field: Field) -> bool:
    return field.required or (field.value is not None and field.value != field.default)


def _placeholder(field: Field) -> Any:
    if field.choices:
        return field.choices[0]
    if field.low is not None and field.control in ("number", "slider"):
        return field.low
    return _PLACEHOLDERS.get(field.control, "…")


def samples(call: Call) -> tuple[Sample, ...]:
    """All of them, JSON first: it is what the others send."""
    return (
        Sample("json", "JSON", json.dumps(call.inputs, indent=2, ensure_ascii=False)),
        Sample("python", "Python", python(call)),
        Sample("javascript", "JavaScript", javascript(call)),
        Sample("curl", "curl", curl(call)),
        Sample("yard", "yard", command(call)),
    )


def python(call: Call) -> str:
    """Replicate's Python client (`pip install replicate`)."""
    lines = [
        "import os",
        "",
        "import replicate",
        "",
        "client = replicate.Client(",
        '    api_token=os.environ["MODELYARD_TOKEN"],',
        f"    base_url={_quoted(call.origin)},",
        ")",
    ]
    given = _python(call.inputs, 0)
    if call.iterator:
        lines += [f'for piece in client.run("{call.spelling}", input={given}):', '    print(str(piece), end="")']
    else:
        lines += [f'output = client.run("{call.spelling}", input={given})', "print(output)"]
    return "\n".join(lines)


def _python(value: Any, depth: int) -> str:
    if isinstance(value, Mapping):
        parts = [f"{_quoted(str(key))}: {_python(one, depth + 1)}" for key, one in value.items()]
        return _braced("{", "}", parts, depth)
    if isinstance(value, list):
        return _braced("[", "]", [_python(one, depth + 1) for one in value], depth)
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    # What JSON writes as a text is one in Python and JavaScript too, once surrogate pairs are not escaped.
    return json.dumps(text, ensure_ascii=False)


def _braced(start: str, end: str, parts: list[str], depth: int) -> str:
    line = start + ", ".join(parts) + end
    if len(line) <= 60 and "\n" not in line:
        return line
    inner, outer = "    " * (depth + 1), "    " * depth
    return start + "".join(f"\n{inner}{part}," for part in parts) + f"\n{outer}{end}"


def javascript(call: Call) -> str:
    """Replicate's JavaScript client (`npm install replicate`)."""
    given = json.dumps(call.inputs, indent=2, ensure_ascii=False)
    head = [
        'import Replicate from "replicate";',
        "",
        "const replicate = new Replicate({",
        "  auth: process.env.MODELYARD_TOKEN,",
        f'  baseUrl: "{call.origin}/v1",',
        "});",
        f"const input = {given};",
    ]
    if call.iterator:
        tail = [
            f'for await (const event of replicate.stream("{call.spelling}", {{ input }})) {{',
            "  process.stdout.write(String(event));",
            "}",
        ]
    else:
        tail = [f'const output = await replicate.run("{call.spelling}", {{ input }});', "console.log(output);"]
    return "\n".join(head + tail)


def curl(call: Call) -> str:
    """Plain HTTP; the answer comes with the outcome if that takes less than a minute."""
    body: dict[str, Any] = {"input": call.inputs}
    path = f"/v1/models/{call.model}/predictions"
    if call.version:
        body, path = {"version": call.version, "input": call.inputs}, "/v1/predictions"
    return " \\\n".join(
        [
            f"curl -s {shlex.quote(call.origin + path)}",
            f'  -H "Authorization: Bearer {TOKEN}"',
            "  -H 'Content-Type: application/json'",
            "  -H 'Prefer: wait'",
            f"  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}",
        ]
    )


def command(call: Call) -> str:
    """Our own command."""
    pairs = [f"-i {shlex.quote(f'{name}={_argument(value)}')}" for name, value in call.inputs.items()]
    return " \\\n  ".join([f"yard run {shlex.quote(call.spelling)}", *pairs])


def _argument(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
