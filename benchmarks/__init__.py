"""Speed of tfpipe, as ratios anyone can measure again."""
