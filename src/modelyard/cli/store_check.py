"""`yard doctor --store`: is what a yard's registry keeps whole?"""

from __future__ import annotations

from typing import Any

from modelyard import settings
from modelyard.cli import client, words
from modelyard.cli.talk import Talk, result_json

# Every byte of a large store is read.
_TIMEOUT_SECONDS = 24 * 3600.0


def check(talk: Talk, *, deep: bool, fix: bool, as_json: bool) -> int:
    """Ask the yard to look; 1 where something is wrong and stays so."""
    login = client.required_login(settings.environment())
    body = {"deep": deep, "fix": fix}
    found = client.call(login, "POST", "/v1/yard/check", body, timeout_seconds=_TIMEOUT_SECONDS)
    if as_json:
        result_json(found)
    talk.say(_looked_at(found))
    for finding in found["findings"]:
        _tell(talk, finding, fix)
    talk.say(_summary(found["findings"], fix))
    return 1 if any(not finding["fixed"] for finding in found["findings"]) else 0


def _looked_at(found: dict[str, Any]) -> str:
    counts = found["counts"]
    how = "every byte read" if found["deep"] else "sizes compared; --deep reads every byte"
    things = ", ".join(_counted(counts[f"{noun}s"], noun) for noun in ("version", "manifest", "blob"))
    away = counts.get("elsewhere", 0)
    more = f" {_counted(away, 'layer')} of bases that nobody wanted yet stay in their registries." if away else ""
    return f"{things}, {words.size(counts['bytes'])}: {how}.{more}"


def _tell(talk: Talk, finding: dict[str, Any], fix: bool) -> None:
    mark = talk.paint("✔", "green") if finding["fixed"] else talk.paint("✗", "red")
    freed = f" ({words.size(finding['bytes'])})" if finding["bytes"] else ""
    talk.say(f"{mark} {finding['kind']} {finding['name']}: {finding['problem']}{freed}")
    if finding["fixed"]:
        talk.say(f"  Fixed: {finding['remedy']}")
    else:
        by_itself = " (--fix does it)" if finding["fixable"] and not fix else ""
        talk.say(f"  Remediation: {finding['remedy']}{by_itself}")


def _summary(findings: list[dict[str, Any]], fix: bool) -> str:
    if not findings:
        return "no issues found"
    fixed = sum(finding["fixed"] for finding in findings)
    left = len(findings) - fixed
    if fixed:
        return f"Fixed {_issues(fixed)}." + (f" {_issues(left)} remaining." if left else "")
    can_be_fixed = not fix and any(finding["fixable"] for finding in findings)
    hint = " `yard doctor --store --fix` mends what can be mended." if can_be_fixed else ""
    return f"Found {_issues(left)}.{hint}"


def _issues(count: int) -> str:
    return _counted(count, "issue")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
