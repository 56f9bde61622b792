"""Heavy work in processes of its own: ``pool`` for the page, ``worker`` and ``jobs`` in those processes."""
