"""A micro chat model and its generated corpus."""
