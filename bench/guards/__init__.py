"""The ways to guard stock that the original's authors weighed, and ours, on the same workloads, with exact counts."""
