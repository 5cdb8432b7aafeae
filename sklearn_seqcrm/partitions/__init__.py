"""Rows, labels, features and encoders over the partitions of a table of events."""

from sklearn_seqcrm.partitions._folder import load_rows
from sklearn_seqcrm.partitions._partitioned_log import PartitionedLog
from sklearn_seqcrm.partitions._partitioned_rows import PartitionedRows

__all__ = ["PartitionedLog", "PartitionedRows", "load_rows"]
