"""How a model runs: lowered to a plan, on threads, or node by node on the graph."""
