"""Parts that the pages are built of, one package per page or concern."""
