"""DeepLift's rules: each non-linear operation's Jacobian becomes an average between baseline and image."""
