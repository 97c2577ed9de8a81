"""What a person looks at: the graph in words and pictures, plots, the report, gradients checked."""
