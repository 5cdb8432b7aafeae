"""Fitted pipelines as ONNX, for services without torch or without Python."""

from sklearn_seqcrm.serving._onnx._export import export_onnx
