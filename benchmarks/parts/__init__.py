"""What can be measured: each module has `measure(options)`, which returns the tables of its results."""
