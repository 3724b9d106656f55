"""How operations carry channels from what they read to what they give: one rule for each."""
