"""The tests; test files mirror modules."""
