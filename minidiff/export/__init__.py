"""Models in the formats of other programs: ONNX. A new format is one file here."""
