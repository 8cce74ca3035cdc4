"""What the product is about, as values and rules: no input or output, no clock, no library but pydantic."""
