"""What the real Celery answered when its facts were recorded (core/record_celery_facts.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FACTS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "core" / "celery_facts.json").read_text()
)
