"""Three ways to guard stock, which the original's authors weighed, on one workload, with exact counts."""
