"""The rules of DeepLift: every non-linear operation's Jacobian becomes an average between baseline and image."""
