"""``python -m umbel`` and the ``umbel`` command."""

from __future__ import annotations

from umbel.cli import main

if __name__ == "__main__":
    main()
