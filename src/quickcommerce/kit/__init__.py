"""Parts that know no feature: transactions, group commit, events, loops, problems, time."""
