"""The trainer of AG-CNN: Algorithm 1 of Guan et al. 2018, its recipes, and the bundle that it writes."""
