"""report.html: what a run found, on one page that opens anywhere; plain HTML from values, no script, no network."""
