"""The waiting predictions of one pool: oldest first within an account, accounts in turns.

Only ids are kept for most of them; a backlog beyond MAX_IDS stays in the database and is fetched by pages.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.predictions.live import Live

MAX_IDS = 50_000
PAGE = 1000


class Queue:
    """First come first served within an account; a pass over the accounts gives each one turn."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[str, deque[str]] = OrderedDict()
        self._waiting: dict[str, tuple[str, float]] = {}
        self.more = False  # rows wait in the database that are not here
        self.last: tuple[int, str] = (0, "")  # (created_at, id) up to which a page was read

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, prediction_id: str) -> bool:
        return prediction_id in self._waiting

    def push(self, prediction_id: str, account: str, now: float) -> None:
        """Add one at its account's end; when there are too many, leave it to the database."""
        if prediction_id in self._waiting:
            return
        if self.more or len(self._waiting) >= MAX_IDS:
            self.more = True
            return
        self._waiting[prediction_id] = (account, now)
        waiting = self._accounts.get(account)
        if waiting is None:
            self._accounts[account] = deque([prediction_id])
        else:
            waiting.append(prediction_id)

    def push_live(self, live: Live, now: float) -> None:
        """Add a prediction that is in memory."""
        self.push(live.record.id, live.record.account_id, now)

    def push_page(self, rows: list[tuple[str, str, int]], now: float) -> None:
        """Add a page of (id, account, created_at) from the database; a short page is the last."""
        self.more = False
        for prediction_id, account, created_at in rows:
            self.push(prediction_id, account, now)
            self.last = (created_at, prediction_id)
        self.more = len(rows) >= PAGE

    def pop(self) -> str | None:
        """The next one, taken out."""
        while self._accounts:
            account, waiting = next(iter(self._accounts.items()))
            while waiting:
                prediction_id = waiting.popleft()
                if self._waiting.pop(prediction_id, None) is not None:
                    if waiting:
                        self._accounts.move_to_end(account)
                    else:
                        del self._accounts[account]
                    return prediction_id
            del self._accounts[account]
        return None

    def remove(self, prediction_id: str) -> bool:
        """Take one out of turn; False when it does not wait here."""
        return self._waiting.pop(prediction_id, None) is not None

    def before(self, prediction_id: str) -> int:
        """How many wait here that came before it, of all accounts (which take turns: its own may come sooner)."""
        for number, waiting in enumerate(self._waiting):
            if waiting == prediction_id:
                return number
        return 0

    def ids(self) -> list[str]:
        """All that wait here."""
        return list(self._waiting)

    def oldest_wait(self, now: float) -> float:
        """Seconds that the first of them has waited here; 0 when none waits."""
        for _, since in self._waiting.values():
            return now - since
        return 0.0
