"""Export runs as an HTML report that works offline, with plots as SVG."""
