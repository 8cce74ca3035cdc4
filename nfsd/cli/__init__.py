"""`python -m nfsd`: the server alone, from the command line."""
