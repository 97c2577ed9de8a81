"""scikit-learn's estimators on the kernels of fastmlp: the extra `sklearn` installs what they need.

    from fastmlp.sklearn import MLPClassifier
    MLPClassifier((128, 64), random_state=0).fit(X, y).score(X_test, y_test)

They take scikit-learn's own arguments, in its order and with its defaults, and further ones by name alone.
"""

from .classifier import MLPClassifier
from .regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
