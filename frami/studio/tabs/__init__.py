"""One file a tab of the studio."""
