"""What `python bench/bench.py` measures: one module a part, none of which the program itself imports."""
