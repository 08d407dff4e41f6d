"""Code benchmarks: problems, the code in an answer, its contained execution, and the scores."""
