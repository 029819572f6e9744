"""The schemas and pages that are generated from the code: what `covaria schema` writes."""
