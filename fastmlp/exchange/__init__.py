"""Models of PyTorch and scikit-learn become fastmlp's, and the other way round; both are loaded when they are used."""
