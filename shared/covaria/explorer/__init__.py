"""A run as the bytes that the page, the report and the notebook draw: columns, maps, what was found."""
