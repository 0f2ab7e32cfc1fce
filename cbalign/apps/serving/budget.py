"""An amount that concurrent requests share, such as pixels, so that together they need limited memory."""

from __future__ import annotations

import asyncio
from collections import deque


class Budget:
    """Hands out an amount; those who want more than is left wait, in order. For one event loop.

    Args:
        total: the amount.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.left = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, amount: int) -> None:
        """Wait until the amount is left, and take it.

        Raises:
            ValueError: the amount exceeds the total.
        """
        if amount > self.total:
            raise ValueError(f"{amount:,} exceeds the total of {self.total:,}")
        if not self._waiting and amount <= self.left:
            self.left -= amount
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            granted = turn.done() and not turn.cancelled()
            self.give(amount if granted else 0)
            raise

    def give(self, amount: int) -> None:
        """Return an amount, and let those in who waited for it."""
        self.left += amount
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.done():
                if wanted > self.left:
                    return
                self.left -= wanted
                turn.set_result(None)
            self._waiting.popleft()
