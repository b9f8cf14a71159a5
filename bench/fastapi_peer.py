"""The function of models/sleep inside of a FastAPI app, as one writes it by hand. Runs in bench/.env/fastapi."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

app = FastAPI()


class Input(BaseModel):
    seconds: float = Field(default=0.05, ge=0, le=60)


class Call(BaseModel):
    input: Input


@app.get("/health-check")
async def health() -> dict[str, str]:
    return {"status": "READY"}


@app.post("/predictions")
async def predict(call: Call) -> dict[str, Any]:
    await asyncio.sleep(call.input.seconds)
    return {"status": "succeeded", "output": call.input.seconds}
