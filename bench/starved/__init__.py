"""P7: the consumer that starves. The original's design beside ours, at a quarter of a CPU, under ten times the load."""
