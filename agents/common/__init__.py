"""Mathematics only: pure functions and small numeric classes, without processes, environments or files."""
