"""Features against published worksheets, reference libraries and themselves: no value may know its future."""
