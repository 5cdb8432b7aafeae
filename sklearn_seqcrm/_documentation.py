"""Where the documentation of the estimators is, for their HTML representation."""

HOME = "https://sklearn-seqcrm.readthedocs.io/en/stable"
# scikit-learn fills in the public package and the name of the class.
DOC_LINK = HOME + "/generated/{estimator_module}.{estimator_name}.html"
