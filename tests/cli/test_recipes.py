"""`lissom recipes`, `schema` and `plan` as a person calls them."""

from __future__ import annotations

import json

from tests.cli.conftest import lissom
