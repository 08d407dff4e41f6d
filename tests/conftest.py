"""Makes `tiny` importable from every test folder (pytest puts a conftest's folder on the path)."""
