"""A Docker Engine of any vendor: build, inspect, tag, push."""
