"""What programs share that run on a node by a timer: Python's standard library alone, laid down there as it is."""
